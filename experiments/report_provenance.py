"""How a run was made, as files of its folder state it: settings, seeds, device, versions, machines."""

import yaml

from experiments.provenance import Session, read_provenance
from experiments.report_html import facts, paragraph, section, text
from experiments.run_folder import Run

_FROM_SETTINGS = ("proxy_scale", "deploy_scale", "data", "trials", "budget")
_FROM_HEADER = ("space", "searcher", "population", "batch", "seed", "fingerprint")


def provenance_section(run: Run) -> str:
    """All that is needed to do it again, or to say why it cannot be done again."""
    header = run.ledger.header
    shown = [(key, str(header[key])) for key in _FROM_HEADER if header.get(key) is not None]
    shown += [(key, str(run.settings[key])) for key in _FROM_SETTINGS if run.settings.get(key) is not None]
    shown += [("device", run.latency_device)] if run.latency_device else []
    shown += [(f"fingerprint of {level.name}", level.rung.fingerprint) for level in run.levels if level.rung]
    if taken_over := run.ledger.num_taken_over:
        shown.append(("outcomes of an earlier ledger", str(taken_over)))
    sessions = read_provenance(run.path).sessions
    parts = [facts(shown, kind="provenance"), *map(_session, _told_apart(sessions))]
    if not sessions:
        parts.append(paragraph("Nothing says under which versions: the run folder holds no provenance.json."))
    if run.settings:
        written = text(yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True))
        parts.append(f"<details><summary>sweep.yaml</summary><pre>{written}</pre></details>")
    return section("How it was made", *parts, name="provenance")


def _told_apart(sessions: tuple[Session, ...]) -> list[Session]:
    """Those that began under other versions or on another machine than the one before."""
    pairs = zip((None, *sessions), sessions, strict=False)
    return [
        this for before, this in pairs if before is None or (before.versions, before.machine) != (this.versions, this.machine)
    ]


def _session(session: Session) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in session.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in session.versions.items())
    return paragraph(f"Since {session.begun}: {versions}; on {machine}.")
