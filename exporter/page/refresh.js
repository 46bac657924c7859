"use strict";
// Asks for the page again and again, and changes what has changed in place: nothing that is open closes, nothing that
// is focused loses it, nothing scrolls. When no answer comes it says so, and how old what is shown has become.
(() => {
  const EVERY = 2000, HIDDEN = 10000, PATIENCE = 6000;
  const root = document.documentElement, build = root.dataset.build;
  const byId = (id) => document.getElementById(id);
  let heard = Date.now(), made = document.querySelector("main").dataset.now, why = "", timer = 0, asking = false;

  const span = (seconds) => seconds < 60 ? `${seconds} s` : seconds < 3600
    ? `${Math.floor(seconds / 60)} min ${seconds % 60} s`
    : `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;

  // What is changed is only what differs; elements with an id are found again wherever they are now.
  function morph(old, fresh) {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      const persons = name === "open" && old.nodeName === "DETAILS";
      if (!fresh.hasAttribute(name) && !persons) old.removeAttribute(name);
    }
    children(old, fresh);
  }

  function children(old, fresh) {
    const named = new Map([...old.children].filter((each) => each.id).map((each) => [each.id, each]));
    let place = old.firstChild;
    for (const want of fresh.childNodes) {
      let have = want.id ? named.get(want.id) : null;
      if (!have && !want.id && place && !place.id && place.nodeName === want.nodeName) have = place;
      if (!have || have.nodeName !== want.nodeName) {
        old.insertBefore(document.importNode(want, true), place);
        continue;
      }
      if (have === place) place = place.nextSibling;
      else old.insertBefore(have, place);
      morph(have, want);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  function show(fresh) {
    const main = fresh.querySelector("main[data-now]");
    if (!main) throw new Error("what answers there is another page");
    if (fresh.documentElement.dataset.build !== build) return location.reload();
    if (main.dataset.now === made) return;  // somebody in between has kept an old answer: it stays as old as it is
    made = main.dataset.now;
    heard = Date.now();
    why = "";
    const focused = document.activeElement;
    morph(document.querySelector("main"), main);
    if (focused && focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    document.title = fresh.title;
    byId("icon").href = fresh.getElementById("icon").href;
    const said = fresh.getElementById("said").textContent;
    if (byId("said").textContent !== said) byId("said").textContent = said;
  }

  function tell() {
    const age = Math.max(0, Math.round((Date.now() - heard) / 1000));
    const late = !why && age * 1000 > HIDDEN + PATIENCE;
    const lost = why || (late ? "no new answer comes" : "");
    byId("age").textContent = lost ? `${span(age)} old` : age < 4 ? "live" : `${span(age)} ago`;
    root.classList.toggle("lost", Boolean(lost));
    byId("lost").hidden = !lost;
    if (!lost) return;
    byId("lost-age").textContent = span(age);
    if (byId("lost-why").textContent !== lost) byId("lost-why").textContent = lost;
    if (!document.title.startsWith("Not reachable")) document.title = `Not reachable: ${document.title}`;
  }

  async function refresh() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    try {
      const headers = { "X-Requested-With": "refresh" };  // where a login is lacking, no dialog is to be opened for it
      const options = { cache: "no-store", headers, redirect: "error", signal: AbortSignal.timeout(PATIENCE) };
      // Of a page that was opened as https://user:password@host/, a bare path would have both in it, and not be fetched.
      const answer = await fetch(location.origin + location.pathname, options);
      if (answer.status === 401) throw new Error("it asks for a password again (401); load this page again to log in");
      if (!answer.ok) throw new Error(`it answers ${answer.status} ${answer.statusText}`);
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch (error) {
      why = error.name === "TimeoutError" ? `no answer within ${PATIENCE / 1000} s`
        : error instanceof TypeError ? "no connection" : error.message;
    }
    asking = false;
    tell();
    timer = setTimeout(refresh, document.hidden ? HIDDEN : EVERY);
  }

  setInterval(tell, 1000);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  window.addEventListener("pageshow", (event) => event.persisted && refresh());
  timer = setTimeout(refresh, EVERY);
  tell();
})();
