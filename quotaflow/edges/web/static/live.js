// One stream of events tells that there is something new; the regions of the page then fetch themselves.
// Nobody looks, nothing is fetched: a hidden tab lets go of its stream, and takes it up when it is seen again.
"use strict";

const EVENTS = "/api/events";
const REST_MS = 1000; // between two refreshes
const AGAIN_MS = [1000, 2000, 4000, 8000]; // before trying again to connect
const BANNER_MS = 1500; // a connection that is back by then was never gone for the reader
let source = null;
let failures = 0;
let paused = false;
let missed = false;
let last = 0;
let planned = null;
let warning = null;
let going = 0; // requests of the reader: links and forms

function isPage() {
  return document.querySelector("header") !== null; // not where one signs in
}

function tell(state) {
  for (const button of document.querySelectorAll("[data-pause]")) {
    button.hidden = false;
    button.textContent = paused ? button.dataset.go : button.dataset.pause;
    button.setAttribute("aria-pressed", String(paused));
  }
  const element = document.getElementById("live-state");
  if (!element) return;
  element.className = `live-state ${state}`;
  element.textContent = { on: element.dataset.live, paused: element.dataset.paused, lost: element.dataset.lost }[state];
}

function current() {
  return failures ? "lost" : paused ? "paused" : "on";
}

function isRegion(element) {
  return element.matches('section[hx-trigger^="live"]');
}

function mustWait() {
  return paused || document.hidden || going > 0;
}

// What the reader asked for comes first: what a region would show may be gone by then.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!isRegion(event.target)) going += 1;
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (isRegion(event.target)) return;
  going = Math.max(0, going - 1);
  if (missed) refresh();
});

// A region keeps what it shows when its page cannot be had: the banner or the next refresh says what is wrong.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!isRegion(event.detail.requestConfig.elt)) return;
  missed ||= mustWait();
  if (mustWait() || event.detail.xhr.status >= 400) event.detail.shouldSwap = false;
});

function refresh() {
  if (mustWait()) missed = true;
  else planned ??= setTimeout(fetchRegions, Math.max(0, last + REST_MS - Date.now()));
}

function fetchRegions() {
  planned = null;
  missed = mustWait();
  if (missed) return;
  last = Date.now();
  htmx.trigger(document.body, "live");
}

function lost() {
  source?.close();
  source = null;
  failures += 1;
  tell("lost");
  warning ??= setTimeout(() => { document.getElementById("lost").hidden = false; }, BANNER_MS);
  setTimeout(connect, AGAIN_MS[Math.min(failures, AGAIN_MS.length) - 1]);
}

function found() {
  clearTimeout(warning);
  warning = null;
  document.getElementById("lost").hidden = true;
  const wasLost = failures > 0;
  failures = 0;
  tell(current());
  if (wasLost || missed) refresh();
}

function connect() {
  if (source || document.hidden || !isPage()) return;
  source = new EventSource(EVENTS);
  source.addEventListener("open", found);
  source.addEventListener("changed", refresh);
  source.addEventListener("error", lost);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    source = null;
    missed = true;
  } else connect();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-pause]")) document.dispatchEvent(new Event("quotaflow:pause"));
});

document.addEventListener("quotaflow:pause", () => {
  paused = !paused;
  tell(current());
  if (!paused && missed) refresh();
});

document.addEventListener("htmx:afterSettle", () => {
  if (source) tell(current());
  else if (!failures) connect();
  document.getElementById("lost").hidden = failures === 0 || warning === null;
});

// A page that another one replaces takes its stream along; the browser need not be told twice.
addEventListener("pagehide", () => { source?.close(); source = null; });
addEventListener("pageshow", connect);
connect();
