"""``python -m bnsharp_cli``: the command, as ``torchrun -m`` starts it in several processes."""

from bnsharp_cli.cli.main import main

if __name__ == "__main__":
    main()
