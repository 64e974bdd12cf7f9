"""Drift reports: a list of them and of the cohorts, and each stored page as it was written."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from nethical import durable
from nethical.drift.cohorts import DATABASE, Cohorts
from nethical.errors import DataError, NethicalError
from nethical.reports.blocks import Reading
from nethical.web.access import GuardedRoute, TurnedAwayError, Visiting
from nethical.web.rendering import page

__all__ = ["newest_reports", "read_report", "router"]

router = APIRouter(route_class=GuardedRoute)

REPORT_ID = re.compile(r"drift_\d{8}_\d{6}(_\d{1,6})?", re.ASCII)
STYLE = re.compile("<style>(.*?)</style>", re.DOTALL)
MOST = 500


def newest_reports(folder: Path, most: int = MOST) -> list[dict[str, Any]]:
    """Return what the newest reports of a folder say in short, the newest first."""
    names = [p.stem for p in folder.glob("drift_*.json") if REPORT_ID.fullmatch(p.stem)]
    found = []
    for report_id in sorted(names, key=_order, reverse=True)[:most]:
        try:
            found.append(_short(report_id, read_report(folder, report_id)))
        except NethicalError as error:
            found.append(_short(report_id, Reading()) | {"message": error.what})
    return found


def _order(report_id: str) -> tuple[str, int]:
    _, day, time, *number = report_id.split("_")
    return f"{day}_{time}", int(number[0]) if number else 1


def _short(report_id: str, told: Reading) -> dict[str, Any]:
    found = told.part("drift_metrics")
    return {
        "report_id": report_id,
        "at": str(told.get("generated_at") or ""),
        "verdict": str(found.get("verdict") or "unknown"),
        "message": str(found.get("message") or ""),
        "reference": str(told.part("comparison").get("reference") or ""),
        "cohorts": [str(name) for name in told.part("cohorts").document],
    }


def read_report(folder: Path, report_id: str) -> Reading:
    """Return a report.

    Raises:
        TurnedAwayError: There is none of that id.
        DataError: It is no JSON object.
    """
    path = _path(folder, report_id, ".json")
    try:
        document = json.loads(durable.read(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the report {report_id} cannot be read", mend="write it again with `nethical drift`"
        ) from error
    return Reading(document)


def _path(folder: Path, report_id: str, ending: str) -> Path:
    path = folder / f"{report_id}{ending}"
    if not REPORT_ID.fullmatch(report_id) or not path.is_file():
        raise TurnedAwayError(404, "There is no such report.")
    return path


@router.get("/drift", include_in_schema=False)
def drift(visit: Visiting) -> Response:
    """List the reports and the cohorts."""
    folder = visit.desk.places.drift_report_dir
    cohorts, reference = [], None
    if (folder / DATABASE).exists():
        kept = Cohorts(folder, visit.desk.clock)
        cohorts, reference = kept.load()[::-1], kept.reference()
    return page(
        visit,
        "drift",
        reports=newest_reports(folder),
        cohorts=cohorts,
        reference=reference[0] if reference else "",
        folder=folder,
    )


@router.get("/drift/{report_id}", include_in_schema=False)
def report(visit: Visiting, report_id: str) -> Response:
    """Show a report: what it says in short, and inside it the page that was stored."""
    folder = visit.desk.places.drift_report_dir
    told = _short(report_id, read_report(folder, report_id))
    has_page = (folder / f"{report_id}.html").is_file()
    return page(visit, "drift_report", report=told, has_page=has_page)


@router.get("/drift/{report_id}/page", include_in_schema=False)
def report_page(visit: Visiting, report_id: str) -> Response:
    """Return the stored page: framed by ours alone, with its own style and nothing else."""
    path = _path(visit.desk.places.drift_report_dir, report_id, ".html")
    content = durable.read(path)
    text = content.decode("utf-8", "replace")
    styles = " ".join(map(_hash_source, STYLE.findall(text)[:3])) or "'none'"
    policy = f"sandbox; default-src 'none'; style-src {styles}; frame-ancestors 'self'"
    headers = {"content-security-policy": policy, "x-frame-options": "SAMEORIGIN"}
    return Response(text, media_type="text/html", headers=headers)


def _hash_source(style: str) -> str:
    """Return what a policy says to allow one style, whose text this is, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
