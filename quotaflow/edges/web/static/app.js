// What every page needs: the reader's zone for the server, and buttons that copy.
"use strict";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const known = document.cookie.split("; ").find((each) => each.startsWith("quotaflow_zone="));
if (zone && known !== `quotaflow_zone=${zone}`) {
  document.cookie = `quotaflow_zone=${zone}; path=/; max-age=31536000; samesite=strict`;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy).textContent;
  const shown = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = button.dataset.copied;
    setTimeout(() => { button.textContent = shown; }, 2000);
  } catch {
    getSelection().selectAllChildren(document.querySelector(button.dataset.copy)); // the reader copies it by hand
  }
});
