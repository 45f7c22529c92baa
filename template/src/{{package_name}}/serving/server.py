"""Serve this bundle over HTTP: `python server.py [--host HOST] [--port PORT]`.

Every option can also be set as an environment variable, SERVER_PORT for --port. A bearer token is
asked for where SERVER_TOKEN is set.
"""

import sys


def create_app() -> object:
    """The application, with the settings that the environment holds."""
    _verify_code()
    from inference import BUNDLE, Engine
    from runtime.http import application

    return application.create_app(Engine, BUNDLE)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; see `--help`."""
    _verify_code()
    from inference import BUNDLE, Engine
    from runtime.http import process

    return process.serve(Engine, BUNDLE, "server:create_app", arguments)


def _verify_code() -> None:
    """Compare all that Python would run of this folder before it runs, or end the process."""
    # until then nothing is imported for which a file beside this one could stand in
    folder = sys.path.pop(0)
    import runpy
    from pathlib import Path

    bundle = Path(__file__).resolve().parent
    integrity = runpy.run_path(str(bundle / "runtime" / "integrity.py"))
    try:
        integrity["verify_code"](bundle)
    except integrity["BundleError"] as error:
        sys.exit(f"error: {error}")
    finally:
        sys.path.insert(0, folder)


if __name__ == "__main__":
    sys.exit(main())
