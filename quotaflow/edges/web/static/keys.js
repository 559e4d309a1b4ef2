// The keyboard: two keys lead to a page, one does something here. Nothing while somebody types.
"use strict";

const PAGES = { o: "/", q: "/quotas", s: "/tasks", t: "/traces", a: "/tokens", u: "/upstream-keys" };
const PAIR_MS = 1000; // between the two keys of a pair
let went = 0;

function isTyping(target) {
  return target.matches("input, select, textarea, [contenteditable]");
}

function follow(path) {
  const link = document.querySelector(`nav a[href="${path}"]`);
  if (link) link.click();
}

function showKeys() {
  const list = document.getElementById("keys");
  if (!list.open) list.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const second = Date.now() - went < PAIR_MS;
  went = 0;
  if (second && PAGES[event.key]) follow(PAGES[event.key]);
  else if (event.key === "g") went = Date.now();
  else if (event.key === "?") showKeys();
  else if (event.key === "r") document.dispatchEvent(new Event("quotaflow:pause"));
  else if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  }
});

document.addEventListener("click", (event) => {
  if (event.target.closest("#show-keys")) showKeys();
});

function reveal() {
  const button = document.getElementById("show-keys");
  if (button) button.hidden = false;
}
reveal();
document.addEventListener("htmx:afterSettle", reveal);
