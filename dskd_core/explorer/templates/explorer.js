"use strict";
// Search as you type, keys, copying, and what is slow to compute. All pages work without it.
const find = document.querySelector("[data-results]");
const results = find && document.getElementById(find.dataset.results);
let asked;

async function fragment(address) {
  asked?.abort();
  asked = new AbortController();
  const answer = await fetch(address, { signal: asked.signal });
  return answer.text();
}

if (find && results) {
  const before = results.innerHTML;
  find.addEventListener("input", async () => {
    const text = find.value.trim();
    if (!text && !before.trim()) { results.replaceChildren(); return; }
    try {
      results.innerHTML = await fragment("/search?" + new URLSearchParams({ q: text }));
    } catch (error) {
      if (error.name !== "AbortError") results.textContent = "The explorer was stopped; start it again.";
    }
  });
  find.form.addEventListener("submit", (event) => {
    const first = results.querySelector("a");
    if (first && find.value.trim()) { event.preventDefault(); location.assign(first.href); }
  });
}

const filter = document.querySelector("[data-filter]");
filter?.addEventListener("input", () => {
  const text = filter.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("tbody tr[data-key]")) {
    row.hidden = !row.dataset.key.startsWith(text);
  }
});

document.addEventListener("keydown", (event) => {
  const box = find ?? filter;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing && box && !event.ctrlKey && !event.metaKey) { event.preventDefault(); box.focus(); box.select(); }
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const links = [...document.querySelectorAll(".found tr:not([hidden]) a")];
  const here = links.indexOf(document.activeElement);
  if (!links.length || (here < 0 && document.activeElement !== box)) return;
  event.preventDefault();
  const next = here + (event.key === "ArrowDown" ? 1 : -1);
  (next < 0 ? box : links[Math.min(next, links.length - 1)]).focus();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  });
}

// The nearest senses of all senses here, in one pass over a large dictionary.
const late = document.querySelector("[data-load]");
if (late) {
  const place = (row) => document.getElementById(`near-${row}`);
  for (const link of document.querySelectorAll("[id^=near-]")) link.textContent = "Looking for the nearest senses …";
  fetch(late.dataset.load).then((answer) => answer.text()).then((text) => {
    late.innerHTML = text;
    for (const found of late.querySelectorAll("[data-row]")) place(found.dataset.row).replaceChildren(...found.childNodes);
  });
}

const detail = document.getElementById("detail");
for (const point of document.querySelectorAll("[data-point]")) {
  const show = () => {
    const source = document.getElementById(point.dataset.point);
    if (detail && source) detail.replaceChildren(...[...source.childNodes].map((node) => node.cloneNode(true)));
  };
  point.addEventListener("mouseenter", show);
  point.addEventListener("focus", show);
}
