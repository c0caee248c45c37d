"""The console command ``quark``. ``import quark`` does not load it."""
