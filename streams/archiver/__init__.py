"""The Archiver: replicator-distributor pairs bring every image from the camera into the archive and publish the claims on it."""
