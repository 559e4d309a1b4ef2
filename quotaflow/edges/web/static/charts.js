// Figures drawn by uPlot from the JSON that the page carries; colours come from the style.
// uPlot is two fifths of all scripts, and is fetched when there is something to draw.
"use strict";

const PLOTS = document.currentScript.dataset.plots;
const DRAWN = "figure.chart:has(script)"; // the others say that there is nothing yet
const HEIGHT = 180;
const DAY_S = 86400;
const HOUR_S = 3600;
const TIMES = [ // least distance of two marks in seconds, how a mark is written, and where a new day begins
  [DAY_S, "{MM}-{DD}", null, null, null, null, null, null, 1],
  [HOUR_S, "{HH}:{mm}", null, null, "\n{MM}-{DD}", null, null, null, 1],
  [1, "{HH}:{mm}", null, null, "\n{MM}-{DD}", null, null, null, 1],
];
const STEPS = [60, 120, 300, 600, 900, 1800, HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 2 * DAY_S, 5 * DAY_S];
const plots = new WeakMap();
let fetched = null; // a promise: uPlot is there

function library() {
  fetched ??= new Promise((arrived, failed) => {
    const script = document.createElement("script");
    script.addEventListener("load", arrived);
    script.addEventListener("error", failed);
    script.src = PLOTS;
    document.head.append(script);
  });
  return fetched;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function alone(plot, first, last) {
  return plot.data[0].length > 1 ? [first, last] : [first - HOUR_S, first]; // uPlot gives a single moment 1,000 days
}

function options(figure, drawn) {
  const soft = colour("soft");
  const axis = { stroke: soft, grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
  const bars = figure.dataset.bars === "1" ? uPlot.paths.bars({ size: [0.9, 40] }) : undefined;
  return {
    width: figure.clientWidth,
    height: HEIGHT,
    legend: { show: true, live: true },
    cursor: { points: { size: 6 } },
    axes: [{ ...axis, values: TIMES, incrs: STEPS }, { ...axis, size: 60 }],
    scales: { x: { range: alone }, y: { range: (plot, low, high) => [Math.min(0, low), Math.max(1, high * 1.05)] } },
    series: [{ value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...drawn.series.map((each) => ({
      label: each.label, stroke: colour(each.colour), width: 1.5, paths: bars, points: { show: false },
      fill: bars ? colour(each.colour) : undefined,
    }))],
  };
}

function draw(figure) {
  const text = figure.querySelector("script").textContent;
  const before = plots.get(figure);
  if (before && before.text === text && before.plot.root.isConnected) return;
  const drawn = JSON.parse(text);
  const lines = [drawn.times, ...drawn.series.map((each) => each.values)];
  if (before && before.plot.root.isConnected) {
    before.plot.setData(lines);
    before.text = text;
    return;
  }
  plots.set(figure, { text, plot: new uPlot(options(figure, drawn), lines, figure) });
}

async function drawAll() {
  if (document.querySelector(DRAWN) === null) return;
  try {
    await library();
  } catch {
    fetched = null; // the daemon is away; the next drawing asks again
    return;
  }
  for (const figure of document.querySelectorAll(DRAWN)) draw(figure);
}

// What was drawn is not in the page that the server sends: changing the one into the other must leave it.
Idiomorph.defaults.callbacks.beforeNodeRemoved = (node) => !(node.classList && node.classList.contains("uplot"));

function redraw() {
  for (const figure of document.querySelectorAll("figure.chart")) {
    plots.get(figure)?.plot.destroy();
    plots.delete(figure);
  }
  drawAll();
}

let resizing = null;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(redraw, 150);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
document.addEventListener("htmx:afterSettle", drawAll);
document.addEventListener("quotaflow:put", drawAll);
drawAll();
