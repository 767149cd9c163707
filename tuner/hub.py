"""Whether the Hugging Face hub answers and has something: asked first, because its clients retry for minutes."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HUB_SECONDS = 6.0
"""An answer must come within ten, imports included."""


def is_offline() -> bool:
    """Whether the environment switches the hub off."""
    switches = (os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("HF_DATASETS_OFFLINE", ""))
    return any(switch.upper() in ("1", "ON", "YES", "TRUE") for switch in switches)


@contextmanager
def no_network() -> Iterator[None]:
    """While entered, Hugging Face's clients raise instead of asking the hub.

    ``local_files_only=True`` does not reach everything: a configuration that names a backbone asks whether it exists.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@functools.cache
def ask_hub(name: str, repo_type: str) -> str:
    """Ask the hub for a dataset or model, within `HUB_SECONDS` in any network.

    The answer is ``found``, ``missing`` or ``unreachable``.
    """
    answers: list[str] = []

    def ask() -> None:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        hub = huggingface_hub.HfApi()
        try:
            (hub.dataset_info if repo_type == "dataset" else hub.model_info)(name, timeout=HUB_SECONDS - 2)
        except (HFValidationError, HfHubHTTPError) as error:
            status = getattr(getattr(error, "response", None), "status_code", 404)
            answers.append("unreachable" if status >= 500 or status in (403, 407, 429) else "missing")
        except Exception:  # noqa: BLE001  # whatever the transport raises, the hub did not answer
            answers.append("unreachable")
        else:
            answers.append("found")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    return answers[0] if answers else "unreachable"
