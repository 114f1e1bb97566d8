"""Python programs as processes of their own that have imported the large libraries already: forks of one that has.

An import of torch, transformers and MLflow takes seconds of a processor, and a test that starts ten processes pays it
ten times. `server` imports them once and forks for each request; `client` asks it, `python` is a `python` for DVC.
A fork is otherwise what the command would be: its own arguments, folder, variables, descriptors, session and exit code.

Two things are not as in a new interpreter, so what is about them starts one: signals that come during imports, and the
seed of `hash`, which all forks of one server share.
"""
