#!/usr/bin/env python3
# circles.py - no circle between source files, and no call that runs up a layer
#
# SPDX-License-Identifier: MIT
#
# usage: circles.py library ARCHIVE | circles.py tools FOLDER_OF_OBJECTS | circles.py nbd FOLDER_OF_OBJECTS
#
# Who calls whom is what nm(1) tells of the objects: a symbol that one has and another lacks. Static namesakes do not
# matter, and neither does an include that is there for a type. layers.sh looks at the includes.
import glob
import os
import re
import subprocess
import sys

# Rooms of the library by height; those of one height do not call one another.
HEIGHT = {'base': 0, 'format': 1, 'io': 2, 'image': 3, 'write': 4, 'bitmap': 5, 'manifest': 6, 'check': 7, 'dump': 7, 'ops': 7, 'rawdisk': 7,
          'repair': 8, 'rescue': 8, 'checkpoint': 8, 'delta': 9, 'api': 10}


LEAST = {'library': 30, 'tools': 30, 'nbd': 5}  # files


def symbols_of(paths):
    """Where each symbol is, and what each source leaves open."""
    home, open_in = {}, {}
    out = subprocess.run(['nm', '-A', '-P', '-g', *paths], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        where, rest = line.split(': ', 1)
        source = re.search(r'([^/\[\]]+)\.o\]?$', where).group(1)
        symbol, kind = rest.split()[:2]
        open_in.setdefault(source, set())
        if kind == 'U':
            open_in[source].add(symbol)
        else:
            home[symbol] = source
    return home, open_in


def calls_of(paths):
    """For each source those that it calls, and by which symbol."""
    home, open_in = symbols_of(paths)
    return {source: {home[s]: s for s in sorted(wanted) if s in home and home[s] != source}
            for source, wanted in open_in.items()}


def circles(calls):
    """Groups of sources that reach one another (Tarjan)."""
    number, low, stack, groups = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in calls[node]:
            if target not in number:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == number[node]:
            at = stack.index(node)
            groups.append(stack[at:])
            del stack[at:]

    for node in sorted(calls):
        if node not in number:
            visit(node)
    return [sorted(g) for g in groups if len(g) > 1]


def way_round(calls, group):
    """The shortest way from the first of a group back to it."""
    ways = [[group[0]]]
    while True:
        way = ways.pop(0)
        for target in calls[way[-1]]:
            if target == group[0]:
                return way + [target]
            if target in group and target not in way:
                ways.append(way + [target])


def room_of(source):
    return source.split('_', 1)[0]


def climbs(calls):
    """Calls from one room of the library to another that is not below it."""
    for source, targets in sorted(calls.items()):
        for target, symbol in targets.items():
            a, b = room_of(source), room_of(target)
            if a != b and HEIGHT[b] >= HEIGHT[a]:
                yield f'{source} calls {symbol}() of {target}, which is not below it'


def main(kind, place):
    calls = calls_of([place] if kind == 'library' else glob.glob(os.path.join(place, '*.o')))
    bad = []
    for group in circles(calls):
        way = way_round(calls, group)
        bad.append('circle: ' + way[0] + ''.join(f' -{calls[a][b]}()-> {b}' for a, b in zip(way, way[1:])) +
                   f' (reach one another: {", ".join(group)})')
    if kind == 'library':
        bad += climbs(calls)
    for text in bad:
        print(text)
    n_calls = sum(len(t) for t in calls.values())
    if len(calls) < LEAST[kind] or n_calls < 2 * LEAST[kind]:  # an empty graph would pass for the wrong reason
        sys.exit(f'only {len(calls)} objects with {n_calls} calls between them seen')
    print(f'{len(calls)} objects, {n_calls} calls between them')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2]))
