"""The command `moderation`, and `python -m moderation`."""

import signal


def main() -> None:
    """Run the command line. Ctrl-C before it is loaded ends the process as it ends others, where Python would print how far it had come."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # unlike a job in the background
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from moderation.cli.main import main as run

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
