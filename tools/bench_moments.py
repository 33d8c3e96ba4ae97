"""`moments` in blocks of 32 frames of 512×512×u16 against one cold memory copy of the block."""

from bench import SPEC, cost_in_copies, show

from streamfluo import create


def main() -> None:
    ratios = cost_in_copies(create("moments", SPEC))
    show("moments, blocks of 32, in copies of the block", ratios[32], "≤ 4", "≤ 2")
    show("moments, blocks of 1, in copies of the block", ratios[1], "–", "–")


if __name__ == "__main__":
    main()
