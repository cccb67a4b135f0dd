// SPDX-License-Identifier: Apache-2.0
/*
 * Runs produce.bpf.c: puts records into the rings of a running sensor, and waits until a reader has acknowledged them.
 *
 *   produce OBJECT SENSOR_PID KIND COUNT RATE PATH_SIZE PROCESSES CPUS
 *
 * KIND is open or exec. RATE is in records a second; with 0, as many as leave half of the ring free. CPUS is how many CPUs
 * produce, the last one first. Prints "made N", "lost N", "making S" (seconds until the last one was made), "seconds S" (until it
 * was acknowledged).
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../bpf/event.h"
#include "produce.h"

enum {
	THREADS_MAX = 64,
	MAPS_MAX = 64,
	CHUNK = 2000,		/* records of one run when no rate is asked for */
	TURN_NS = 1000000,	/* between two runs when one is */
	FULL_NS = 200000,	/* between two looks at a ring that has no room */
	TAKEN_S_MAX = 120,
};

static struct {
	const volatile __u64 *consumer, *producer;
	__u64 size;
} ring;
static const volatile struct cpu_counters *counters;
static int cpus, program;
static struct production production;
static __u64 rate, count, threads;

static void fail(const char *what)
{
	fprintf(stderr, "produce: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_ns(double ns)
{
	struct timespec time = { ns / 1e9, (long)ns % 1000000000 };

	if (ns > 0)
		nanosleep(&time, NULL);
}

/* Calls `use` for each map that a program of the sensor has. */
static void each_map(int sensor, void (*use)(int fd, const struct bpf_map_info *info, void *with), void *with)
{
	char path[64], line[256];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", sensor);
	folder = opendir(path);
	if (!folder)
		fail(path);
	while ((entry = readdir(folder))) {
		struct bpf_prog_info info = {};
		__u32 ids[MAPS_MAX], size = sizeof(info), id = 0;
		char name[512];
		FILE *file;
		int fd;

		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		file = fopen(name, "r");
		while (file && fgets(line, sizeof(line), file))
			sscanf(line, "prog_id: %u", &id);
		if (file)
			fclose(file);
		fd = id ? bpf_prog_get_fd_by_id(id) : -1;
		if (fd < 0)
			continue;
		info.map_ids = (__u64)ids;
		info.nr_map_ids = MAPS_MAX;
		if (bpf_obj_get_info_by_fd(fd, &info, &size))
			fail("program info");
		for (__u32 i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++) {
			struct bpf_map_info map = {};
			__u32 map_size = sizeof(map);
			int map_fd = bpf_map_get_fd_by_id(ids[i]);

			if (map_fd >= 0 && !bpf_obj_get_info_by_fd(map_fd, &map, &map_size))
				use(map_fd, &map, with);
			close(map_fd);
		}
		close(fd);
	}
	closedir(folder);
}

/* The kernel keeps fifteen bytes of a map's name. */
static void share_map(int fd, const struct bpf_map_info *info, void *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		if (strncmp(bpf_map__name(map), info->name, sizeof(info->name) - 1) || bpf_map__fd(map) >= 0)
			continue;
		if (bpf_map__reuse_fd(map, fd))
			fail(info->name);
	}
}

static void *map_shared(int fd, size_t size, size_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, offset);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

static void watch_map(const char *name, struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	int fd = bpf_map__fd(map);

	if (!strcmp(name, "counters")) {
		cpus = bpf_map__max_entries(map);
		counters = map_shared(fd, cpus * sizeof(*counters), 0);
	} else {
		ring.size = bpf_map__max_entries(map);
		ring.consumer = map_shared(fd, sysconf(_SC_PAGESIZE), 0);
		ring.producer = map_shared(fd, sysconf(_SC_PAGESIZE), sysconf(_SC_PAGESIZE));
	}
}

static void load(const char *path, int sensor, const char *ring_name)
{
	struct bpf_object *object = bpf_object__open(path);
	static const char folders[] = "/produced/library/x86_64-linux-gnu";
	char text[PATH_SIZE_MAX];
	struct bpf_map *map;

	if (!object)
		fail(path);
	each_map(sensor, share_map, object);
	bpf_object__for_each_map(map, object)
		if (bpf_map__fd(map) < 0 && !bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, false);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = folders[i % (sizeof(folders) - 1)];
	map = bpf_object__find_map_by_name(object, ".data.path");
	if (bpf_map__set_initial_value(map, text, sizeof(text)) || bpf_object__load(object))
		fail("load");
	program = bpf_program__fd(bpf_object__find_program_by_name(object, "produce"));
	watch_map("counters", object);
	watch_map(ring_name, object);
}

static __u64 lost(void)
{
	__u64 sum = 0;

	for (int cpu = 0; cpu < cpus; cpu++)
		sum += counters[cpu].kinds[production.kind].lost + counters[cpu].kinds[production.kind].discarded;
	return sum;
}

static void make(struct production *wanted, __u32 records)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = wanted, .ctx_size_in = sizeof(*wanted));

	wanted->count = records;
	if (bpf_prog_test_run_opts(program, &options) || options.retval)
		fail("run");
}

/* One CPU's part of the work. */
static void *work(void *number)
{
	struct production wanted = production;
	__u64 share = count / threads, made = 0;
	double begin = now();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1 - (long)number, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
	wanted.number = share * (long)number;
	while (made < share) {
		__u64 rest = share - made, due = rate ? (now() - begin) * rate / threads - made : CHUNK;

		if (!rate && *ring.producer - *ring.consumer > ring.size / 2) {
			pause_ns(FULL_NS);
			continue;
		}
		due = due < rest ? due : rest;
		make(&wanted, due);
		made += due;
		if (rate)
			pause_ns(TURN_NS);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[THREADS_MAX];
	__u64 before, end;
	double begin, making;

	if (argc != 9) {
		fprintf(stderr, "produce OBJECT SENSOR_PID open|exec COUNT RATE PATH_SIZE PROCESSES CPUS\n");
		return 2;
	}
	production.kind = strcmp(argv[3], "exec") ? RECORD_FILE_OPEN : RECORD_EXEC;
	count = atoll(argv[4]);
	rate = atoll(argv[5]);
	production.path_size = atoi(argv[6]);
	production.processes = atoi(argv[7]);
	threads = atoi(argv[8]);
	if (threads < 1 || threads > THREADS_MAX)
		return 2;
	load(argv[1], atoi(argv[2]), production.kind == RECORD_EXEC ? "process_ring" : "activity_ring");
	before = lost();
	begin = now();
	for (__u64 i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, work, (void *)i);
	for (__u64 i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	making = now() - begin;
	end = *ring.producer;
	while (*ring.consumer < end) {
		if (now() - begin > TAKEN_S_MAX) {
			fprintf(stderr, "produce: nobody takes what is in the ring\n");
			return 1;
		}
		pause_ns(FULL_NS);
	}
	printf("made %llu\nlost %llu\nmaking %.6f\nseconds %.6f\n", count / threads * threads, lost() - before, making,
	       now() - begin);
	return 0;
}
