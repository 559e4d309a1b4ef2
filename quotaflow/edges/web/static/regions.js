// The parts of a page that change: fetched in one request, and only what differs is put in place.
// The reader comes first: nothing is fetched while they wait for a link or a form, and a late answer is dropped.
"use strict";

const REST_MS = 1000; // between two fetches
const PATIENCE_MS = 15000; // for an answer
const regions = { paused: false, missed: false, last: 0, planned: null, fetching: null, going: 0 };

function mustWait() {
  return regions.paused || document.hidden || regions.going > 0;
}

function ask(options) {
  return fetch(location.pathname + location.search, { headers: { "X-Refresh": "1" }, ...options });
}

function refresh() {
  if (mustWait()) regions.missed = true;
  else regions.planned ??= setTimeout(fetchRegions, Math.max(0, regions.last + REST_MS - Date.now()));
}

async function fetchRegions() {
  regions.planned = null;
  regions.missed = mustWait();
  if (regions.missed || document.querySelector("section.live") === null) return;
  regions.last = Date.now();
  regions.fetching?.abort();
  const fetching = regions.fetching = new AbortController();
  const patience = setTimeout(() => fetching.abort(), PATIENCE_MS);
  try {
    const answer = await ask({ signal: fetching.signal });
    const text = await answer.text();
    if (answer.redirected || answer.status === 404) location.reload(); // to where one signs in; what is gone says so
    else if (answer.ok && !mustWait() && !fetching.signal.aborted) put(new DOMParser().parseFromString(text, "text/html"));
  } catch {
    regions.missed = true; // the stream of events finds out what is wrong, and tells the reader
  } finally {
    clearTimeout(patience);
  }
}

// Who is not signed in any more is led to where one signs in, also from a page without regions.
async function askWhy() {
  if (document.querySelector("section.live") !== null) return refresh();
  try {
    const answer = await ask({ method: "HEAD", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (answer.redirected) location.reload();
  } catch {
    // the daemon is away, which the reader is told
  }
}

function put(page) {
  for (const region of document.querySelectorAll("section.live")) {
    const fresh = page.getElementById(region.id);
    if (fresh === null) continue;
    Idiomorph.morph(region, fresh, { morphStyle: "outerHTML" });
    htmx.process(document.getElementById(region.id));
  }
  document.dispatchEvent(new Event("quotaflow:put"));
  if (document.querySelector("section.live[data-soon]")) refresh();
}

function goes() {
  regions.going += 1;
  regions.fetching?.abort();
}

function came() {
  regions.going = Math.max(0, regions.going - 1);
  if (regions.missed || document.querySelector("section.live[data-soon]")) refresh();
}

// Going back to what is gone: the browser shows what the server says of it.
document.addEventListener("htmx:historyCacheMissLoadError", () => location.reload());
document.addEventListener("htmx:beforeRequest", goes);
document.addEventListener("htmx:afterRequest", came);
