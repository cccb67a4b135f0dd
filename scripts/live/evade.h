/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that try evasions share: see evasions.ts for the cases. */
#ifndef WARDER_EVADE_H
#define WARDER_EVADE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline const char *in(const char *folder, const char *name)
{
	static char paths[8][4096];
	static int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static inline int create(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR, 0755);

	if (fd < 0)
		fail(path);
	return fd;
}

/* Overwrites the end of a text in turn with two others of its length, until the program ends. */
struct flip {
	char *at;
	const char *texts[2];
};

static inline void *flip_forever(void *argument)
{
	struct flip *flip = argument;

	for (unsigned i = 0;; i++)
		memcpy(flip->at, flip->texts[i & 1], strlen(flip->texts[0]));
	return NULL;
}

/* What a program can do, by the word that asks for it: with a folder, or without. */
struct act {
	const char *name;
	int (*in_folder)(const char *folder);
	int (*alone)(void);
};

static inline int act(const struct act *acts, size_t count, int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < count; i++) {
		if (strcmp(argv[1], acts[i].name))
			continue;
		if (argc == 2 && acts[i].alone)
			return acts[i].alone();
		if (argc == 3 && acts[i].in_folder)
			return acts[i].in_folder(argv[2]);
	}
	fprintf(stderr, "%s: no act %s\n", argv[0], argc > 1 ? argv[1] : "");
	return 2;
}

#endif
