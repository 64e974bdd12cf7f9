"""Models: every version, one with its card and figures, and two beside each other."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from nethical import charts
from nethical.bundle import Bundle
from nethical.card import MEANINGS, figures
from nethical.errors import DataError, IntegrityError, StorageError
from nethical.history import MODEL_ID, Version
from nethical.reports.blocks import Reading
from nethical.web.access import GuardedRoute, TurnedAwayError, Visiting
from nethical.web.cards import card_html
from nethical.web.desk import Desk
from nethical.web.rendering import chart, page

__all__ = ["bundle_of", "documents_of", "find_version", "router"]

router = APIRouter(route_class=GuardedRoute)

DOCUMENTS = ("metrics.json", "model.json", "run.json")
LEAST_BINS = 2


def find_version(desk: Desk, model_id: str) -> Version:
    """Return a version of the registry, and nothing that lies elsewhere.

    Raises:
        TurnedAwayError: There is none of that id.
    """
    known = desk.registry.versions() if MODEL_ID.fullmatch(model_id) else []
    found = next((version for version in known if version.model_id == model_id), None)
    if found is None:
        raise TurnedAwayError(404, "There is no such model.")
    return found


def bundle_of(desk: Desk, model_id: str) -> Bundle | IntegrityError | StorageError:
    """Return a model, or why it cannot be believed."""
    try:
        return desk.registry.verify(model_id)
    except (IntegrityError, StorageError) as error:
        return error


def documents_of(bundle: Bundle) -> dict[str, Reading]:
    """Return the JSON documents of a model by their names.

    Raises:
        DataError: One is not there, or is no JSON.
    """
    found = {}
    for name in DOCUMENTS:
        try:
            found[name] = Reading(bundle.document(name))
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{bundle.model_id} has no {name} that can be read", mend="train it again"
            ) from error
    return found


@router.get("/models", include_in_schema=False)
def models(visit: Visiting) -> Response:
    """List the versions, the newest first, and what is in production."""
    versions = visit.desk.registry.versions()[::-1]
    history = visit.desk.registry.history()[::-1]
    moves = [entry for entry in history if entry["event"] != "published"]
    return page(visit, "models", versions=versions, moves=moves[:20])


@router.get("/models/compare", include_in_schema=False)
def compare(visit: Visiting, a: str = "", b: str = "") -> Response:
    """Show two models beside each other."""
    if not a or not b or a == b:
        return RedirectResponse("/models", 303)
    desk = visit.desk
    sides = []
    for version in (find_version(desk, a), find_version(desk, b)):
        bundle = bundle_of(desk, version.model_id)
        if not isinstance(bundle, Bundle):
            raise bundle
        sides.append((version, documents_of(bundle)))
    metrics = [documents["metrics.json"] for _, documents in sides]
    plans = [documents["run.json"].part("plan").document for _, documents in sides]
    return page(
        visit,
        "compare",
        sides=[version for version, _ in sides],
        same_rows=_same_rows([version for version, _ in sides]),
        rows=_side_by_side(metrics),
        settings=_differing(*plans),
        figures=_figures(metrics),
        totals=[(one.get("rows"), one.get("positives")) for one in metrics],
    )


@router.get("/models/{model_id}", include_in_schema=False)
def model(visit: Visiting, model_id: str) -> Response:
    """Show a model: whether it is what was signed, and its card."""
    desk = visit.desk
    version = find_version(desk, model_id)
    bundle = bundle_of(desk, model_id)
    if not isinstance(bundle, Bundle):
        return page(
            visit, "model", version=version, bundle=None, broken=bundle, card=None, other=""
        )
    documents = documents_of(bundle)
    drawn = figures(documents["metrics.json"].document)
    text = bundle.files["card.md"].decode("utf-8", "replace") if "card.md" in bundle.files else ""
    current = desk.registry.current(version.name) if version.name else None
    return page(
        visit,
        "model",
        version=version,
        bundle=bundle,
        broken=None,
        card=card_html(text, drawn),
        other=current.name if current and current.name != model_id else "",
    )


def _same_rows(versions: list[Version]) -> bool:
    digests = {version.details.get("gate_digest") for version in versions}
    return len(digests) == 1 and None not in digests


def _side_by_side(metrics: list[Reading]) -> list[dict[str, Any]]:
    """Return each metric of two models with its bounds."""
    names = dict.fromkeys(name for one in metrics for name in one.part("metrics").document)
    return [
        {
            "name": str(name),
            "meaning": MEANINGS.get(str(name), ""),
            "values": [one.part("metrics").get(name) for one in metrics],
            "bounds": [one.part("intervals").get(name) for one in metrics],
        }
        for name in names
    ]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the settings in which two plans differ."""
    keys = dict.fromkeys([*one, *other])
    return [
        (str(key), one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)
    ]


def _figures(metrics: list[Reading]) -> list[Any]:
    """Return the charts of two models in one, as far as their documents can be drawn."""
    bins = [_bins(one.part("reliability")) for one in metrics]
    counts = [one.part("histogram") for one in metrics]
    edges = [one.values("edges") for one in counts]
    totals = [_added(one.values("positive"), one.values("negative")) for one in counts]
    drawn = [
        chart(charts.two_reliabilities(*bins, reference_name="first", current_name="second")),
    ]
    if edges[0] == edges[1] and len(edges[0]) >= LEAST_BINS:
        drawn.append(
            chart(
                charts.two_scores(edges[0], *totals, reference_name="first", current_name="second")
            )
        )
    return drawn


def _bins(told: Reading) -> charts.Bins:
    return charts.Bins(*(told.values(name) for name in ("n", "mean_proba", "share", "error")))


def _added(positive: list[Any], negative: list[Any]) -> list[float]:
    return [float(p or 0) + float(n or 0) for p, n in zip(positive, negative, strict=False)]
