"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const facts = read("facts");
  const figures = read("figures");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const zoomed = new Set();

  // What the style says, as plotly takes it.
  function theme() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: color("--rule"), linecolor: color("--rule"), zeroline: false, automargin: true };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: color("--colors").split(" "),
        font: { color: color("--ink"), size: 12 }, margin: { l: 8, r: 10, t: 16, b: 8 }, hovermode: "closest",
        legend: { orientation: "h", y: -0.18, yanchor: "top", itemwidth: 30 }, xaxis: axis, yaxis: axis,
        hoverlabel: { namelength: -1, bgcolor: color("--card"), font: { color: color("--ink") } },
      },
    };
  }

  const resizer = new ResizeObserver((entries) => {
    for (const { target } of entries.filter((seen) => seen.contentRect.width > 0)) Plotly.Plots.resize(target);
  });

  function draw(node) {
    const name = node.dataset.figure;
    const figure = figures[name];
    const layout = { ...figure.layout, template: theme(), height: node.clientHeight };
    Plotly.newPlot(node, figure.data, layout, { displaylogo: false, displayModeBar: false })
      .then(() => resizer.observe(node))
      .then(() => node.on("plotly_relayout", (change) => {
        if (Object.keys(change).some((key) => key.includes("axis.range"))) zoomed.add(name);
        if (Object.keys(change).some((key) => key.includes("autorange"))) zoomed.delete(name);
      }));
  }

  // Hundreds of charts may be on the page: each is drawn when it comes near the window.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((seen) => seen.isIntersecting)) {
      watcher.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  const charts = [...document.querySelectorAll(".chart")];
  charts.forEach((node) => watcher.observe(node));
  const drawn = () => charts.filter((node) => node.classList.contains("js-plotly-plot"));
  dark.addEventListener("change", () => drawn().forEach((node) => Plotly.relayout(node, { template: theme() })));

  // What the reader opened stays open when the page loads itself again.
  const remember = (id, open) => { try { sessionStorage.setItem(id, open); } catch { /* not allowed: it forgets */ } };
  const recall = (id) => { try { return sessionStorage.getItem(id); } catch { return null; } };
  for (const node of document.querySelectorAll("details")) {
    const open = recall(node.id);
    if (open !== null) node.open = open === "true";
    node.addEventListener("toggle", () => remember(node.id, node.open));
  }
  const show = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", show);
  show();

  const age = () => (Date.now() - Date.parse(facts.written)) / 1000;
  const words = (s) => s < 120 ? `${Math.round(s)} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
  function tell() {
    document.getElementById("age").textContent = age() >= 0 ? `, ${words(age())} ago` : "";
    const stale = document.getElementById("stale");
    stale.hidden = !facts.refresh_s || age() < Math.max(60, 6 * facts.refresh_s);
    stale.textContent = `Nobody has written this page for ${words(age())}. Next: latentwire dashboard`;
  }
  tell();
  setInterval(tell, 1000);

  // Not while the reader looks at a part of a curve, and not where the server is gone: its last page stays.
  async function reload() {
    const there = location.protocol === "file:" ||
      await fetch(location.href, { method: "HEAD", cache: "no-store" }).then((answer) => answer.ok, () => false);
    if (there && !document.hidden && zoomed.size === 0) location.reload();
  }
  if (facts.refresh_s) setInterval(reload, 1000 * facts.refresh_s);
})();
