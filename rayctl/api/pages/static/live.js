// Reloads the page's content when something on it has changed. Without this script the page is complete, and still.
"use strict";
(() => {
  const main = document.querySelector("main");
  const sign = document.getElementById("live");
  const { live, poll, events } = main.dataset;
  let waiting = null;
  const show = (text, tone) => { if (sign) { sign.textContent = text; sign.className = "live " + tone; } };

  async function refresh() {
    waiting = null;
    if (main.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = new Set([...main.querySelectorAll("details[open][id]")].map((item) => item.id));
      const focused = document.activeElement && document.activeElement.id;
      main.replaceChildren(...fresh.querySelector("main").childNodes);
      for (const id of open) { const item = document.getElementById(id); if (item) item.open = true; }
      if (focused) { const item = document.getElementById(focused); if (item) item.focus(); }
    } catch (error) { show("not updated", "bad"); }
  }
  const soon = () => { if (waiting === null) waiting = setTimeout(refresh, 400); };

  if (live) {
    const source = new EventSource(live);
    source.onopen = () => show("live", "good");
    source.onerror = () => show("reconnecting", "held");
    for (const name of (events || "").split(" ")) source.addEventListener(name, soon);
    source.addEventListener("done", () => { source.close(); show("ended", ""); });
  } else if (poll) {
    show("live", "good");
    setInterval(() => { if (!document.hidden) soon(); }, 1000 * Number(poll));
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(input|textarea|select)$/i.test(event.target.tagName)) return;
    const field = document.getElementById("filter");
    if (field) { event.preventDefault(); field.focus(); }
  });
})();
