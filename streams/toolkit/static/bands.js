// Colours of Okabe and Ito's palette, which colour-blind people tell apart, and a marker shape for each band besides.
export const BANDS = {
  u: { color: "#56b4e9", symbol: "triangle-up" },
  g: { color: "#1fc79a", symbol: "circle" },
  r: { color: "#f0a32e", symbol: "square" },
  i: { color: "#e08bbd", symbol: "diamond" },
  z: { color: "#f0e442", symbol: "star" },
  y: { color: "#f2733c", symbol: "hexagon2" },
};
export const styleOf = (band) => BANDS[band] ?? { color: "#a9b7d0", symbol: "x" };
