"""What each kind of scene holds: seeing, densities and how many things change."""

from __future__ import annotations

from dataclasses import dataclass

from infra.telescope.errors import PlanError

__all__ = ["RECIPES", "Recipe", "recipe_of"]

FULL_AREA = 4000 * 4072
"""Pixels for which the counts of a recipe hold; smaller scenes have as many per pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One kind of scene; counts are those of a full CCD."""

    science_fwhm_arcsec: float
    template_fwhm_arcsec: float
    stars: int
    brightest_mag: float
    star_slope: float
    """Logarithm of the counts' growth per magnitude."""
    galaxies: int
    giants: int = 0
    """Stars of magnitude 10 to 14.5: saturated, with bleeds."""
    transients: int = 800
    vanished: int = 120
    variables: int = 250
    moving_stars: int = 30
    trails: int = 40
    glints: int = 12
    glint_trains: int = 1
    streaks: int = 1
    epochs: int = 4
    """Visits coadded into the template."""

    def scaled(self, pixels: int) -> Recipe:
        """Return the recipe with counts for an image of so many pixels; what a full CCD has a few of stays at least 1."""
        share = pixels / FULL_AREA
        names = (
            "stars",
            "galaxies",
            "giants",
            "transients",
            "vanished",
            "variables",
            "moving_stars",
            "trails",
            "glints",
        )
        counts = {name: _share(getattr(self, name), share) for name in names}
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Recipe(**{**values, **counts})


def _share(count: int, share: float) -> int:
    return max(1, round(count * share)) if count else 0


RECIPES: dict[str, Recipe] = {
    "nominal": Recipe(
        science_fwhm_arcsec=0.80,
        template_fwhm_arcsec=0.70,
        stars=4500,
        brightest_mag=14.5,
        star_slope=0.18,
        galaxies=6000,
    ),
    "sharper": Recipe(
        science_fwhm_arcsec=0.65,
        template_fwhm_arcsec=0.75,
        stars=4500,
        brightest_mag=14.5,
        star_slope=0.18,
        galaxies=6000,
    ),
    "crowded": Recipe(
        science_fwhm_arcsec=0.80,
        template_fwhm_arcsec=0.70,
        stars=25_000,
        brightest_mag=15.5,
        star_slope=0.20,
        galaxies=3000,
    ),
    "bright": Recipe(
        science_fwhm_arcsec=0.80,
        template_fwhm_arcsec=0.70,
        stars=4500,
        brightest_mag=14.0,
        star_slope=0.18,
        galaxies=6000,
        giants=25,
        streaks=2,
    ),
}
"""Scenes of the imaging tests: seeing as the design page's scenes A and B, 25,000 stars as its scene C."""


def recipe_of(name: str) -> Recipe:
    """Return a recipe by name.

    Raises
    ------
    PlanError
        When there is none of that name.
    """
    if name not in RECIPES:
        raise PlanError(f"There is no imaging scene named {name}; there are {', '.join(RECIPES)}.")
    return RECIPES[name]
