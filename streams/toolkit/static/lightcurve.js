// The light curve: one trace per band and kind, and one selected epoch shared with the stamps, the table and the address.
import { styleOf } from "./bands.js";

const ZERO_POINT = 31.4;
const LIMIT_SIGMA = 3;
const chart = document.getElementById("chart");
const points = JSON.parse(document.getElementById("curve").textContent).points;
const controls = document.querySelector(".chart-tools");
const INK = "#c9d4ea";
const GRID = "#25324f";
let selected = null;

const choice = (name) => controls.querySelector(`[name=${name}]:checked`)?.value;
const forcedShown = () => controls.querySelector("[name=forced]").checked;
const period = () => Number(controls.querySelector("[name=period]").value);

const flux = (p) => (choice("light") === "total" ? p.science_flux : p.flux);
const error = (p) => (choice("light") === "total" ? p.science_flux_error : p.flux_error);
const usable = (p) => flux(p) !== null && Number.isFinite(flux(p));
const magnitude = (nJy) => ZERO_POINT - 2.5 * Math.log10(nJy);
const isLimit = (p) => choice("scale") === "magnitude" && !(flux(p) > LIMIT_SIGMA * (error(p) ?? 0) && flux(p) > 0);

function abscissa(p) {
  if (!(period() > 0)) return p.mjd;
  const phase = ((p.mjd - points[0].mjd) / period()) % 1;
  return phase < 0 ? phase + 1 : phase;
}

function ordinate(p) {
  if (choice("scale") === "flux") return flux(p);
  if (isLimit(p)) return magnitude(Math.max(flux(p), 0) + LIMIT_SIGMA * (error(p) ?? 0));
  return magnitude(flux(p));
}

function spread(p) {
  const sigma = error(p) ?? 0;
  if (choice("scale") === "flux") return sigma;
  return isLimit(p) ? 0 : (1.0857 * sigma) / flux(p);
}

function hover(p) {
  const value = choice("scale") === "flux" ? `${flux(p).toFixed(0)} ± ${(error(p) ?? 0).toFixed(0)} nJy` : `${isLimit(p) ? "fainter than " : ""}${ordinate(p).toFixed(2)} mag`;
  const snr = p.snr === null ? "" : `, S/N ${p.snr.toFixed(1)}`;
  return `<b>${p.band ?? "?"}</b> ${p.kind}: ${value}${snr}<br>MJD ${p.mjd.toFixed(5)} TAI<br>${p.utc} UTC`;
}

function trace(band, kind, limits, members) {
  const { color, symbol } = styleOf(band);
  const hollow = kind === "forced";
  const shape = limits ? "triangle-down" : symbol;
  const both = period() > 0 ? [...members, ...members] : members;
  return {
    type: "scatter",
    mode: "markers",
    name: `${band ?? "?"} ${limits ? "limit" : kind}`,
    legendgroup: band ?? "?",
    x: both.map((p, n) => abscissa(p) + (n >= members.length ? 1 : 0)),
    y: both.map(ordinate),
    customdata: both.map((p) => p.source_id),
    text: both.map(hover),
    hovertemplate: "%{text}<extra></extra>",
    error_y: { type: "data", array: both.map(spread), color, thickness: 1.2, width: 0, visible: !limits },
    marker: {
      color,
      symbol: hollow || limits ? `${shape}-open` : shape,
      size: both.map((p) => (p.source_id === selected ? 15 : hollow ? 7 : 10)),
      opacity: hollow ? 0.75 : 1,
      line: { color: hollow || limits ? color : "#0b1020", width: 1.4 },
    },
  };
}

function traces() {
  const shown = points.filter((p) => usable(p) && (p.kind !== "forced" || forcedShown()));
  const groups = new Map();
  for (const p of shown) {
    const limits = isLimit(p);
    const key = `${"ugrizy".indexOf(p.band)} ${p.kind} ${limits}`;
    if (!groups.has(key)) groups.set(key, { band: p.band, kind: p.kind, limits, members: [] });
    groups.get(key).members.push(p);
  }
  return [...groups.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, g]) => trace(g.band, g.kind, g.limits, g.members));
}

function layout() {
  const folded = period() > 0;
  const chosen = points.find((p) => p.source_id === selected);
  const axis = { gridcolor: GRID, zerolinecolor: "#4a5c86", linecolor: GRID, tickfont: { size: 12 }, automargin: true };
  const label = (text) => ({ text, standoff: 14 });
  const light = choice("light") === "total" ? "total" : "difference";
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "#0d1529",
    font: { color: INK, family: "system-ui, sans-serif", size: 13 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: "#7486ab", activecolor: "#7cc8ff" },
    margin: { l: 70, r: 16, t: 12, b: 52 },
    hoverlabel: { bgcolor: "#1c2947", bordercolor: "#4a5c86", font: { color: "#f2f6ff" } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    xaxis: { ...axis, title: label(folded ? `phase at ${period()} d` : "MJD (TAI)"), tickformat: folded ? "" : ".7~f", zeroline: false, nticks: 9 },
    yaxis: {
      ...axis,
      title: label(choice("scale") === "flux" ? `${light} flux (nJy)` : `AB magnitude, ${light}`),
      autorange: choice("scale") === "flux" ? true : "reversed",
      zeroline: choice("scale") === "flux",
      exponentformat: "none",
      separatethousands: true,
    },
    shapes: chosen && !folded ? [{ type: "line", x0: chosen.mjd, x1: chosen.mjd, yref: "paper", y0: 0, y1: 1, line: { color: "#ffd166", width: 1, dash: "dot" } }] : [],
    uirevision: `${choice("scale")} ${choice("light")} ${period()}`,
  };
}

const CONFIG = { responsive: true, displaylogo: false, scrollZoom: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: { filename: "light-curve", scale: 2 } };
const draw = () => window.Plotly.react(chart, traces(), layout(), CONFIG);

function mark(id) {
  for (const old of document.querySelectorAll(".chosen")) old.classList.remove("chosen");
  for (const element of document.querySelectorAll(`[data-source="${id}"]`)) {
    element.classList.add("chosen");
    if (element.matches(".epoch")) element.scrollIntoView({ block: "nearest", inline: "center", behavior: "smooth" });
  }
}

export function select(id, remember = true) {
  const p = points.find((one) => one.source_id === id);
  if (!p) return;
  selected = id;
  mark(id);
  const label = document.getElementById("selected");
  const brightness = p.science_flux > 0 ? `, total ${magnitude(p.science_flux).toFixed(2)} mag` : "";
  const value = p.flux === null ? "no flux" : `${p.flux.toFixed(0)} ± ${(p.flux_error ?? 0).toFixed(0)} nJy`;
  label.textContent = `${p.band ?? "?"} ${p.kind} of ${p.utc} UTC: ${value}${brightness}, S/N ${p.snr === null ? "–" : p.snr.toFixed(1)}, visit ${p.visit}, CCD ${p.detector} `;
  if (p.alert_id) {
    const link = document.createElement("a");
    link.href = `/alerts/${p.alert_id}`;
    link.textContent = "open its alert";
    label.append(link);
  }
  if (remember) history.replaceState(null, "", `#epoch-${id}`);
  draw();
}

function step(by) {
  const steps = points.filter((p) => p.kind === "detection");
  const at = steps.findIndex((p) => p.source_id === selected);
  const next = at < 0 ? (by > 0 ? 0 : steps.length - 1) : Math.min(Math.max(at + by, 0), steps.length - 1);
  if (steps.length) select(steps[next].source_id);
}

async function begin() {
  if (chart === null) return;
  if (!points.length) {
    chart.textContent = "No measurement is known yet.";
    return;
  }
  await draw();
  chart.on("plotly_click", (event) => select(event.points[0].customdata));
  controls.addEventListener("input", draw);
  document.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || event.target.matches("input:not([type=checkbox]), textarea, [role=tab]") || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    step(by);
  });
  for (const element of document.querySelectorAll("[data-source]")) element.addEventListener("click", (event) => event.target.closest("a, button") || select(element.dataset.source));
  const asked = location.hash.match(/^#epoch-(\d+)$/);
  if (asked) select(asked[1], false);
  document.documentElement.dataset.chart = "ready";
}

begin();
