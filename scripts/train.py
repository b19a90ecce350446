#!/usr/bin/env python3
"""The same as the console command `pima-hp-train`."""

from pima_hp.app import main

if __name__ == "__main__":
    main()
