// One stream of events tells that there is something new; the regions of the page are then fetched (regions.js).
// Nobody looks, nothing is fetched: a hidden tab lets go of its stream, and takes it up when it is seen again.
"use strict";

const EVENTS = "/api/events";
const AGAIN_MS = [1000, 2000, 4000, 8000]; // before trying again to connect
const BANNER_MS = 1500; // a connection that is back by then was never gone for the reader
let source = null;
let failures = 0;
let warning = null;

function isPage() {
  return document.querySelector("header") !== null; // not where one signs in
}

function tell(state) {
  for (const button of document.querySelectorAll("[data-pause]")) {
    button.hidden = false;
    button.textContent = regions.paused ? button.dataset.go : button.dataset.pause;
    button.setAttribute("aria-pressed", String(regions.paused));
  }
  const element = document.getElementById("live-state");
  if (!element) return;
  element.className = `live-state ${state}`;
  element.textContent = { on: element.dataset.live, paused: element.dataset.paused, lost: element.dataset.lost }[state];
}

function current() {
  return failures ? "lost" : regions.paused ? "paused" : "on";
}

function lost() {
  source?.close();
  source = null;
  failures += 1;
  tell("lost");
  warning ??= setTimeout(() => { document.getElementById("lost").hidden = false; }, BANNER_MS);
  setTimeout(connect, AGAIN_MS[Math.min(failures, AGAIN_MS.length) - 1]);
  askWhy(); // the stream does not say whether the daemon went or the session
}

function found() {
  clearTimeout(warning);
  warning = null;
  document.getElementById("lost").hidden = true;
  const wasLost = failures > 0;
  failures = 0;
  tell(current());
  if (wasLost || regions.missed) refresh();
}

function connect() {
  if (source || document.hidden || !isPage()) return;
  source = new EventSource(EVENTS);
  source.addEventListener("open", found);
  source.addEventListener("changed", refresh);
  source.addEventListener("error", lost);
}

// What was pressed may have arrived all the same: the reader looks before they press it again.
document.addEventListener("htmx:sendError", () => { document.getElementById("undone").hidden = false; });
document.addEventListener("htmx:timeout", () => { document.getElementById("undone").hidden = false; });
document.addEventListener("htmx:beforeRequest", () => { document.getElementById("undone").hidden = true; });

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    source = null;
    regions.missed = true;
  } else connect();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-pause]")) document.dispatchEvent(new Event("quotaflow:pause"));
});

document.addEventListener("quotaflow:pause", () => {
  regions.paused = !regions.paused;
  tell(current());
  if (!regions.paused && regions.missed) refresh();
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
