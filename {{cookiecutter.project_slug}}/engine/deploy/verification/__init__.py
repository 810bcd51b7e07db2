"""Parts of ``engine.deploy.verify``: is a running service ready, the right release, and right?"""
