"""One file per verb. The table is all that ``dist --help`` reads; a verb is imported when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Verb -> one-line summary; the module has the verb's name, - as _. A test compares with its SUMMARY.
VERBS: Final[Mapping[str, str]] = {
    "pull": "bring an image from a registry into the store",
    "push": "send an image of the store to a registry",
    "copy": "copy an image between registries, the store, layouts and archives",
    "sync": "copy the tags of a repository that are missing or have moved",
    "inspect": "show what an image is made of, without fetching its layers",
    "tags": "list the tags of a repository",
    "catalog": "list the repositories of a registry that tells",
    "referrers": "list what refers to an image: signatures, attestations, SBOMs",
    "manifest": "get, put or delete one manifest of a registry",
    "blob": "get, put or delete one blob of a registry",
    "export": "write images of the store into one archive or layout",
    "inventory": "list the digests that are here, for dist export on another side to leave out",
    "images": "list, name, label, check, mount or forget the images in the store",
    "unpack": "unpack images of the store into snapshots",
    "mount": "show the files of an image at a folder",
    "unmount": "end what dist mount began",
    "rootfs": "write the files of an image into a folder",
    "ls": "list the files of an image; without one the blobs in the store",
    "cat": "write files of an image to standard output",
    "cp": "copy a file or a folder out of an image",
    "diff": "show which files differ between two images, and their sizes",
    "bundle": "make a folder of an image that runc, crun and other OCI runtimes run",
    "run": "run a container of an image with runc or crun, in the foreground",
    "df": "show what images, and all else in the store, need on the disk",
    "import": "bring the images of an archive or a layout into the store",
    "convert": "make an image with other compression, media types or platforms",
    "mutate": "change an image without a container: layers, base, config, annotations",
    "commit-rootfs": "make an image of a folder, a bundle or a snapshot that was changed",
    "fetch": "write an object of a registry to standard output, or into the store",
    "fetch-object": "write what a reference stands for to standard output, as ctr does",
    "push-object": "send one object of the store to a registry, as ctr does",
    "ingest": "store standard input as one blob and print its digest",
    "commit": "make a kept ingest visible as a blob",
    "active": "list the ingests that have not been committed",
    "abort": "drop ingests that nobody writes",
    "gc": "remove the blobs and snapshots that no image, repository, lease or label needs",
    "prune": "remove what nobody needs: abandoned ingests",
    "list": "list the blobs in the store",
    "info": "show everything the store knows about blobs",
    "path": "print where blobs lie in the file system",
    "get": "write a blob to standard output",
    "edit": "change a copy of a blob in an editor and store the result",
    "label": "show, set or remove labels of a blob",
    "delete": "remove blobs",
    "leases": "show, make or end leases, which keep things from the collector",
    "snapshots": "list, describe, label or remove snapshots, which hold unpacked layers",
    "namespaces": "list, make, label or remove namespaces, and say what they share",
    "fsck": "verify every blob, quarantine or repair the damaged ones",
    "db": "check, describe or rebuild the database of the store",
    "ls-layers": "print the digest and size of each layer of a manifest on standard input",
    "login": "check credentials for a registry and keep them",
    "logout": "forget the credentials for a registry",
    "serve": "serve the store as an OCI registry: push, pull, cache, web page",
    "registry": "how a registry is reached; what the rules of our own keep and allow",
    "completion": "print a shell completion script",
    "version": "print the version",
}
ALIASES: Final[Mapping[str, str]] = {"del": "delete", "rm": "delete", "ns": "namespaces"}
