// Comfort only: everything here can be done without it. Keys for the case at hand, and a live count.
"use strict";
(() => {
  const ON = "nethical-keys";
  const marked = [...document.querySelectorAll("[data-key]")];
  const note = document.querySelector("[data-keys]");
  const toggle = document.querySelector("[data-keys-on]");
  const remembered = () => {
    try { return localStorage.getItem(ON) !== "off"; } catch { return true; }
  };
  let on = remembered();
  const show = () => document.body.classList.toggle("by-key", on);
  show();
  if (note && toggle) {
    note.hidden = false;
    toggle.checked = on;
    toggle.addEventListener("change", () => {
      on = toggle.checked;
      show();
      try { localStorage.setItem(ON, on ? "on" : "off"); } catch { /* it holds for this page */ }
    });
  }
  const writes = (element) => element.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && writes(event.target);
    if (typing && event.key === "Escape") { event.target.blur(); return; }
    if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      event.target.form.requestSubmit();
      return;
    }
    if (!on || typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const found = marked.find((element) => element.dataset.key === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    found.focus();
    if (found.tagName !== "TEXTAREA") found.click();
  });
  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
  const counts = [...document.querySelectorAll("[data-count]")];
  const count = async () => {
    if (document.hidden) return;
    const answer = await fetch("/api/v1/review/counts", { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    const found = await answer.json();
    for (const element of counts) {
      const text = found[element.dataset.count].toLocaleString("en-US");
      if (element.textContent !== text) element.textContent = text;
    }
  };
  if (counts.length) setInterval(() => count().catch(() => {}), 30000);
})();
