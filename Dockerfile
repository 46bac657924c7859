# The sidecar. How to run it: docs/container.md
#
# In a container, web.listen must be 0.0.0.0:10306: the loopback address of a container is reached by nobody else. What
# is published to the outside is then the runtime's to decide (-p 127.0.0.1:10306:10306).

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# First what changes rarely, so that a change of our code does not fetch the world again.
COPY requirements/sidecar.txt requirements/sidecar.txt
RUN python -m venv /opt/pool-exporter \
 && /opt/pool-exporter/bin/pip install --quiet --require-hashes --requirement requirements/sidecar.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
# The lock names the build tools as well. They and pip stay behind; `pip check` fails here if something needed them.
RUN /opt/pool-exporter/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/pool-exporter/bin/pip install --quiet --no-deps dist/*.whl \
 && /opt/pool-exporter/bin/pip uninstall --quiet --yes \
      editables hatchling packaging pathspec pluggy tomlkit trove-classifiers \
 && /opt/pool-exporter/bin/pip check \
 && /opt/pool-exporter/bin/pip uninstall --quiet --yes pip

FROM python:3.13-slim-bookworm
# The commit that is built, for pool_exporter_build_info: --build-arg REVISION="$(git rev-parse HEAD)"
ARG REVISION=""
LABEL org.opencontainers.image.title="sqlalchemy-pool-exporter" \
      org.opencontainers.image.description="Prometheus sidecar that holds SQLAlchemy connection pools against the database server's own sessions" \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/pool-exporter/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 POOL_EXPORTER_REVISION=$REVISION
COPY --from=build /opt/pool-exporter /opt/pool-exporter
# nobody, by number: Kubernetes' runAsNonRoot does not look names up. Nothing is written, so the root may be read-only.
USER 65534:65534
EXPOSE 10306
# Over TLS where plain HTTP is hung up on; on the loopback address no certificate need be verified. A page that shakes
# hands and then hangs up wants a certificate of its clients: it lives.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["python", "-c", "import http.client as h, ssl\n\
def ask(page):\n\
  page.request('GET', '/-/healthy')\n\
  return page.getresponse().status\n\
try:\n\
  status = ask(h.HTTPConnection('127.0.0.1:10306', timeout=2))\n\
except (h.HTTPException, ConnectionError):\n\
  page = h.HTTPSConnection('127.0.0.1:10306', timeout=2, context=ssl._create_unverified_context())\n\
  page.connect()\n\
  try:\n\
    status = ask(page)\n\
  except (ssl.SSLError, ConnectionError):\n\
    status = 200\n\
raise SystemExit(status != 200)"]
ENTRYPOINT ["pool-exporter"]
CMD ["serve", "--config", "/etc/pool-exporter/config.yaml"]
