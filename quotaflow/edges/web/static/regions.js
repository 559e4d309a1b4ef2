// The parts of a page that change: fetched in one request, and only what differs is put in place.
// The reader comes first: nothing is fetched while they wait for a link or a form, and a late answer is dropped.
"use strict";

const REST_MS = 1000; // between two fetches
const PATIENCE_MS = 15000; // for an answer
const regions = { paused: false, missed: false, last: 0, planned: null, fetching: null, going: 0 };

function mustWait() {
  return regions.paused || document.hidden || regions.going > 0;
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
    const answer = await fetch(location.pathname + location.search, { signal: fetching.signal });
    const text = await answer.text();
    if (answer.redirected) location.reload(); // to where one signs in
    else if (answer.ok && !mustWait() && !fetching.signal.aborted) put(new DOMParser().parseFromString(text, "text/html"));
  } catch {
    regions.missed = true; // the stream of events finds out what is wrong, and tells the reader
  } finally {
    clearTimeout(patience);
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

document.addEventListener("htmx:beforeRequest", goes);
document.addEventListener("htmx:afterRequest", came);
