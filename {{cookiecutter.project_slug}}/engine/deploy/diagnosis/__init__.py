"""Parts of ``engine.deploy.diagnose``: what Azure shows of a failure, to its cause and its fix."""
