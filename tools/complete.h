/* complete.h - what can follow on a command line, for the completion of shells
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_COMPLETE_H
#define QCBM_TOOL_COMPLETE_H

/* @words: the words after "qcbm", of which the last is to be completed, and may be empty; after them come @n_behind
 * more, which stand behind the cursor. Prints "files" if names of files can stand there, else "words" and a line for
 * each word that can: the word, a tab, what it is. Returns 0. */
int complete_words(int n, int n_behind, char **words);

/* "[--behind=N] -- WORD...", of which the last N stand behind the cursor. Returns -1 if it is not that. */
int complete_arguments(int argc, char **argv);

#endif
