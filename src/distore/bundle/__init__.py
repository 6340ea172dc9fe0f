"""Runtime bundles: a root filesystem and the config.json that a runtime takes."""
