"""Serving: the registry over a store, wired for whoever runs the server around it."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.errors import ReadOnly
from distore.registry.compose import Parts, compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.metadata.db import Metadata
    from distore.metadata.upkeep import Upkeep
    from distore.registry.cachesettings import UpstreamSettings
    from distore.registry.compose import Composed
    from distore.registry.metrics import Metrics
    from distore.registry.settings import ServeSettings
    from distore.remotes.http.resolver import HttpResolver
    from distore.remotes.options import RegistryOptions


@contextmanager
def serving(
    metadata: Metadata,
    settings: ServeSettings,
    metrics: Metrics,
    *,
    options: RegistryOptions,
    connect: Callable[[RegistryOptions], HttpResolver],
    note: Callable[[str], None],
    upkeep: Upkeep | None,
) -> Iterator[Composed]:
    """The registry over the store of ``metadata``, while the block runs.

    Args:
        metrics: Where its numbers go.
        options: How upstreams are reached that say nothing of their own.
        connect: Makes a way to upstreams; it is closed at the end.
        note: Gets a line for the operator.
        upkeep: What housekeeping can do with the store; None: nobody keeps house.
    Raises:
        DistoreError: The store cannot be used, or a file that the settings name.
    """
    content = metadata.content
    # Made now: a folder that is missing later is one that was lost.
    with suppress(ReadOnly), content.database.transaction(durable=False):
        pass
    with ExitStack() as ways:
        composed = compose(
            settings,
            Parts(
                content=content,
                repositories=metadata.repositories,
                images=metadata.images,
                connect=lambda upstream: ways.enter_context(connect(_options(options, upstream))),
                note=note,
                now=time.time,
                metrics=metrics,
                free=content.free_space,
                state=content.root,
                upkeep=upkeep,
            ),
        )
        try:
            yield composed
        finally:
            composed.close()


def _options(options: RegistryOptions, upstream: UpstreamSettings | None) -> RegistryOptions:
    """How an upstream that has settings of its own is reached; None: all others."""
    if upstream is None:
        return options
    from distore.registry.upstreams import credentials_of

    return replace(
        options,
        server=upstream.server,
        credentials=credentials_of(upstream) or options.credentials,
        ca=upstream.ca or options.ca,
        plain_http=upstream.plain_http or options.plain_http,
        skip_verify=upstream.skip_verify or options.skip_verify,
    )
