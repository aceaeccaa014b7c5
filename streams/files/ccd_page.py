"""The page that judges one CCD: plots as PNG files and an HTML file that shows them with the figures behind them."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processors.detector import DetectorProducts
from processors.differencing.planes import DROPPED_CENTRE, has_plane
from processors.differencing.snap_consistency import MOTION_SIGMAS, SnapPresence
from processors.single_frame.point_sources import model_traces

__all__ = ["write_page"]

ARROW_MAS = 20.0
"""Residual that the key of the quiver shows, milliarcseconds."""

BRIGHT, FARTHEST_MAS = 20.0, 200.0
"""Stars of the quiver: brighter than so many sigmas, and nearer than that to their place; others are blends or too faint to tell."""

LEAST_SPREAD_MMAG = 50.0
"""Smallest half height of the plots of magnitudes; beyond it they reach five times the scatter that most stars have."""

MOST_ARROWS, CELLS = 250, 14
"""Stars up to which each has its arrow; beyond, a grid of so many cells on a side has one each."""

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui,sans-serif;margin:clamp(.75rem,3vw,2rem);max-width:1500px}h1{font-size:clamp(1.2rem,5vw,2rem)}"
    "main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(430px,100%),1fr));gap:1.5rem}"
    "figure{margin:0}img{width:100%;border-radius:6px}figcaption{opacity:.75}"
    "dl{columns:22rem;column-gap:3rem}dl div{display:flex;gap:1rem;justify-content:space-between;break-inside:avoid}"
    "dt{overflow-wrap:anywhere}dd{margin:0;font-variant-numeric:tabular-nums}"
)
"""Style of the page: one column on a telephone, the system's light or dark; the plots stay white."""

Axes = Any
Plot = tuple[str, str, Callable[[Axes], None]]
"""Name, sentence below it, and what draws it."""


def write_page(products: DetectorProducts, references: NDArray[np.void], out_dir: Path, stem: str) -> Path:
    """Write the plots and the page, and return the page's path.

    Parameters
    ----------
    products
        What came of the CCD.
    references
        Reference catalogue.
    out_dir, stem
        Where the files go, and how their names begin.
    """
    matched = _matched(products, references)
    figures = []
    for name, sentence, draw in _plots(products, matched):
        path = out_dir / f"{stem}-{name}.png"
        _save(path, draw)
        figures.append((path.name, sentence))
    page = out_dir / f"{stem}-quality.html"
    page.write_text(_html(products, figures))
    return page


def _matched(products: DetectorProducts, references: NDArray[np.void]) -> dict[str, NDArray[Any]]:
    """Columns of clean sources with a star of the catalogue: places, residuals in mas, magnitudes and colour."""
    image = products.image
    sources = image.sources[image.sources["reference"] != 0]
    order = np.argsort(references["id"], kind="stable")
    rows = order[np.searchsorted(references["id"][order], sources["reference"])]
    stars = references["isStar"][rows] & (sources["psf_flux"] > 0)
    sources, rows = sources[stars], rows[stars]
    flux = references[f"flux_{image.band}"][rows].astype(np.float64)
    x, y = image.wcs.all_world2pix(*_places(references[rows], image.midpoint_mjd_tai), 0)
    scale = 1000.0 * 3600.0 * float(np.sqrt(np.abs(np.linalg.det(image.wcs.pixel_scale_matrix))))
    return {
        "x": sources["x"],
        "y": sources["y"],
        "dx": (sources["x"] - x) * scale,
        "dy": (sources["y"] - y) * scale,
        "magnitude": 31.4 - 2.5 * np.log10(flux),
        "offset": -2.5 * np.log10(sources["psf_flux"].astype(np.float64) / flux),
        "colour": _colour(references[rows]),
        "chi2": sources["psf_chi2"],
        "size": sources["ixx"] + sources["iyy"],
        "psf_star": sources["psf_star"],
        "significance": sources["significance"],
    }


def _places(rows: NDArray[np.void], mjd: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from processors.single_frame.astrometry import propagate

    return propagate(rows, mjd)


def _colour(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """Colour in the catalogue's first two bands, NaN with fewer."""
    bands = [name for name in rows.dtype.names or () if name.startswith("flux_")]
    if len(bands) < 2:
        return np.full(len(rows), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return -2.5 * np.log10(rows[bands[0]].astype(np.float64) / rows[bands[1]].astype(np.float64))


def _plots(products: DetectorProducts, matched: dict[str, NDArray[Any]]) -> list[Plot]:
    return [
        ("astrometry", "Residuals of catalogue stars against the fitted WCS.", lambda a: _quiver(a, products, matched)),
        ("psf", "Size of stars over that of the PSF model, over the CCD.", lambda a: _psf(a, products, matched)),
        (
            "zero-point",
            "Measured minus catalogue magnitude, by magnitude.",
            lambda a: _offsets(a, matched, "magnitude", "catalogue magnitude"),
        ),
        (
            "zero-point-colour",
            "Measured minus catalogue magnitude, by colour.",
            lambda a: _offsets(a, matched, "colour", "catalogue colour"),
        ),
        (
            "score",
            "Signal-to-noise of the difference at blank sky, beside a unit Gaussian.",
            lambda a: _score(a, products),
        ),
        (
            "completeness",
            "Share of injected fakes that were found, and the fitted curve.",
            lambda a: _completeness(a, products),
        ),
        (
            "reliability",
            "Probability that each DIASource is real, by its signal-to-noise.",
            lambda a: _reliability(a, products),
        ),
        *_snap_plots(products),
        ("difference", "The difference in units of its noise, with the DIASources.", lambda a: _picture(a, products)),
    ]


def _snap_plots(products: DetectorProducts) -> list[Plot]:
    """The plot of a visit of two snaps; nothing for one."""
    if products.difference.snaps is None:
        return []
    sentence = "Part of each DIASource's flux in the first snap: a half for what lasts, 1 or 0 for a flash or a cosmic ray left over."
    return [("snaps", sentence, lambda a: _snaps(a, products))]


def _snaps(axes: Axes, products: DetectorProducts) -> None:
    told, sources = products.difference.snaps, products.difference.sources
    assert told is not None
    if len(sources) == 0:
        _nothing(axes, "no DIASources")
        return
    labels = {
        SnapPresence.BOTH: ("both snaps", "tab:blue"),
        SnapPresence.FIRST: ("first alone", "tab:orange"),
        SnapPresence.SECOND: ("second alone", "tab:red"),
        SnapPresence.UNKNOWN: ("not told", "0.6"),
    }
    for presence, (label, colour) in labels.items():
        own = (told["presence"] == presence) & np.isfinite(told["first_share"])
        axes.errorbar(
            sources["snr"][own], np.clip(told["first_share"][own], -0.4, 1.4), yerr=told["first_share_error"][own],
            fmt="o", markersize=3, linewidth=0.6, color=colour, label=f"{label}: {int((told['presence'] == presence).sum())}",
        )  # fmt: skip
    moved = told["motion_snr"] > MOTION_SIGMAS
    glints = int(np.count_nonzero(sources["glint_trail"] == 1))
    axes.set(
        ylabel="part of the flux in the first snap", ylim=(-0.5, 1.5),
        title=f"{int(moved.sum())} moved between the snaps, {glints} in rows of flashes",
    )  # fmt: skip
    axes.legend(fontsize=8)
    _by_snr(axes, sources["snr"])


def _save(path: Path, draw: Callable[[Axes], None]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    figure.savefig(path, metadata={"Software": None})


def _quiver(axes: Axes, products: DetectorProducts, matched: dict[str, NDArray[Any]]) -> None:
    rows, columns = products.image.image.shape
    bright = (matched["significance"] > BRIGHT) & (np.hypot(matched["dx"], matched["dy"]) < FARTHEST_MAS)
    matched = {name: values[bright] for name, values in matched.items()}
    x, y, dx, dy = _averaged(matched, (rows, columns))
    arrows = axes.quiver(
        x, y, dx, dy,
        angles="xy", scale_units="xy", scale=10 * ARROW_MAS / max(rows, columns), width=0.002, color="tab:blue",
    )  # fmt: skip
    axes.quiverkey(arrows, 0.9, -0.08, ARROW_MAS, f"{ARROW_MAS:g} mas", labelpos="E")
    rms = float(np.sqrt(np.mean(matched["dx"] ** 2 + matched["dy"] ** 2) / 2)) if len(matched["x"]) else float("nan")
    axes.set(
        title=f"{len(matched['x'])} stars above {BRIGHT:g} sigma, {rms:.1f} mas rms per axis"
        + ("" if len(x) == len(matched["x"]) else f"; medians of {len(x)} cells"), xlim=(0, columns), ylim=(0, rows),
        xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal",
    )  # fmt: skip


def _averaged(
    matched: dict[str, NDArray[Any]], shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Places and residuals of stars, or where there are too many to be seen, medians over a grid."""
    names = ("x", "y", "dx", "dy")
    if len(matched["x"]) <= MOST_ARROWS:
        return matched["x"], matched["y"], matched["dx"], matched["dy"]
    side = max(shape) / CELLS
    cell = (matched["y"] // side).astype(np.int64) * CELLS + (matched["x"] // side).astype(np.int64)
    x, y, dx, dy = (np.array([np.median(matched[name][cell == c]) for c in np.unique(cell)]) for name in names)
    return x, y, dx, dy


def _psf(axes: Axes, products: DetectorProducts, matched: dict[str, NDArray[Any]]) -> None:
    used = matched["psf_star"].astype(bool)
    x, y = (matched[name][used].astype(np.float64) for name in ("x", "y"))
    excess = matched["size"][used] / model_traces(products.image.psf, (x, y)) - 1
    points = axes.scatter(x, y, c=100 * excess, cmap="coolwarm", s=14, vmin=-3, vmax=3)
    axes.figure.colorbar(points, label="size over model, per cent")
    fwhm, stars = products.metrics["psf_fwhm_pixels"], int(products.metrics["psf_stars"])
    axes.set(
        title=f"PSF of {fwhm:.2f} pixels from {stars} stars", xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal"
    )


def _offsets(axes: Axes, matched: dict[str, NDArray[Any]], by: str, label: str) -> None:
    good = np.isfinite(matched[by]) & np.isfinite(matched["offset"])
    if not good.any():
        _nothing(axes, f"no star has a {label}")
        return
    values = 1000 * matched["offset"][good]
    reach = max(LEAST_SPREAD_MMAG, 5 * 1.4826 * float(np.median(np.abs(values))))
    outside = int(np.count_nonzero(np.abs(values) > reach))
    axes.axhline(0.0, color="0.6", linewidth=1)
    axes.scatter(matched[by][good], values, s=6, color="tab:green")
    axes.set(
        xlabel=label, ylabel="measured - catalogue (mmag)", ylim=(-reach, reach),
        title=f"{int(good.sum())} stars" + (f", {outside} of them outside the plot" if outside else ""),
    )  # fmt: skip


def _nothing(axes: Axes, sentence: str) -> None:
    axes.text(0.5, 0.5, sentence, ha="center", va="center", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])


def _by_snr(axes: Axes, snr: NDArray[Any]) -> None:
    """Make the horizontal axis a logarithmic one of signal-to-noise, its ticks written out."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = 0.9 * float(snr.min()), 1.1 * float(snr.max())
    ticks = [tick for tick in (5, 7, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if low <= tick <= high]
    axes.set(xscale="log", xlim=(low, high), xlabel="signal-to-noise")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def _score(axes: Axes, products: DetectorProducts) -> None:
    result = products.difference
    blank = np.isfinite(result.score.snr) & ~has_plane(result.mask, DROPPED_CENTRE)
    values = result.score.snr[blank][::7]
    edges = np.linspace(-8, 8, 129)
    counts, _ = np.histogram(values, edges)
    middle, width = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    axes.step(middle, np.maximum(counts, 0.5), where="mid", label="difference")
    gauss = len(values) * width * np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi)
    axes.plot(middle, gauss, color="tab:orange", label="unit Gaussian")
    core = values[np.abs(values) < 3]
    axes.set(
        yscale="log", ylim=(0.5, None), xlabel="signal-to-noise", ylabel="pixels",
        title=f"standard deviation within 3 sigma {core.std():.3f} (a unit Gaussian has 0.987)" if len(core) else "no sky",
    )  # fmt: skip
    axes.legend()


def _completeness(axes: Axes, products: DetectorProducts) -> None:
    curve = products.completeness
    some = curve.injected > 0
    share = curve.found[some] / curve.injected[some]
    error = np.sqrt(np.maximum(share * (1 - share), 0.25 / curve.injected[some]) / curve.injected[some])
    axes.errorbar(curve.level[some], share, yerr=error, fmt="o", color="tab:purple")
    grid = np.linspace(2.0, 12.0, 200)
    axes.plot(grid, [curve.at(float(snr)) for snr in grid], color="0.5")
    axes.set(
        xlabel="signal-to-noise of the fake", ylabel="found", ylim=(-0.05, 1.1),
        title=f"50 % at {curve.snr50:.2f} +- {curve.snr50_error:.2f}, {int(curve.injected.sum())} fakes",
    )  # fmt: skip


def _reliability(axes: Axes, products: DetectorProducts) -> None:
    sources = products.difference.sources
    scored = sources[np.isfinite(sources["reliability"])]
    if len(scored) == 0:
        _nothing(axes, "no DIASource has a score" if len(sources) else "no DIASources")
        return
    negative = scored["isNegative"] == 1
    for chosen, colour, name in ((~negative, "tab:cyan", "positive"), (negative, "tab:red", "negative")):
        axes.scatter(scored["snr"][chosen], scored["reliability"][chosen], s=14, color=colour, label=name)
    axes.legend()
    axes.set(
        title=f"{len(scored)} of {len(sources)} scored; {float(np.sum(1 - scored['reliability'])):.1f} artefacts expected",
        ylabel="reliability", ylim=(-0.02, 1.02),
    )  # fmt: skip
    _by_snr(axes, scored["snr"])


def _picture(axes: Axes, products: DetectorProducts) -> None:
    result = products.difference
    step = max(1, max(result.image.shape) // 1000)
    axes.imshow(
        result.score.snr[::step, ::step], origin="lower", cmap="gray", vmin=-6, vmax=6, interpolation="nearest",
        extent=(0, result.image.shape[1], 0, result.image.shape[0]),
    )  # fmt: skip
    positive = result.sources["isNegative"] != 1
    for chosen, colour in ((positive, "tab:cyan"), (~positive, "tab:red")):
        axes.scatter(
            result.sources["x"][chosen], result.sources["y"][chosen], s=40, facecolors="none", edgecolors=colour,
            linewidths=0.8,
        )  # fmt: skip
    axes.set(title=f"{len(result.sources)} DIASources", xlabel="x (pixels)", ylabel="y (pixels)")


def _html(products: DetectorProducts, figures: list[tuple[str, str]]) -> str:
    image = products.image
    title = f"Visit {image.visit}, detector {image.detector}, band {image.band}"
    cells = "".join(
        f'<figure><img src="{html.escape(name)}" alt="{html.escape(sentence)}">'
        f"<figcaption>{html.escape(sentence)}</figcaption></figure>"
        for name, sentence in figures
    )
    rows = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{value:.6g}</dd></div>"
        for name, value in sorted(products.metrics.items())
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>Template {html.escape(Path(products.choice.info.path).name)}.</p>"
        f"<main>{cells}</main><h2>Figures</h2><dl>{rows}</dl></html>\n"
    )
