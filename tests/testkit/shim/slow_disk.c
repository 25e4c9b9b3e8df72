/*
 * Preloaded into a node, makes its disk slow: every fsync and fdatasync takes as many milliseconds
 * longer as the file named by SLOW_SYNC_MS_FILE says, and every removal of a file as many as that
 * named by SLOW_REMOVAL_MS_FILE. The files are read again and again, so that a test may change a
 * delay at any time, also while a call is being held up.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How long to sleep before the file is read again. */
#define STEP_MS 5

static long wanted_ms(const char *variable)
{
	char text[32];
	const char *path = getenv(variable);
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t length;

	if (file < 0)
		return 0;
	length = read(file, text, sizeof(text) - 1);
	close(file);
	if (length <= 0)
		return 0;
	text[length] = 0;
	return atol(text);
}

static void hold_up(const char *variable)
{
	struct timespec step = { 0, STEP_MS * 1000000L };
	long waited;

	for (waited = 0; waited < wanted_ms(variable); waited += STEP_MS)
		nanosleep(&step, NULL);
}

int fsync(int file)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	hold_up("SLOW_SYNC_MS_FILE");
	return real(file);
}

int fdatasync(int file)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	hold_up("SLOW_SYNC_MS_FILE");
	return real(file);
}

int unlink(const char *path)
{
	static int (*real)(const char *);

	if (!real)
		real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
	hold_up("SLOW_REMOVAL_MS_FILE");
	return real(path);
}

int unlinkat(int directory, const char *path, int flags)
{
	static int (*real)(int, const char *, int);

	if (!real)
		real = (int (*)(int, const char *, int))dlsym(RTLD_NEXT, "unlinkat");
	hold_up("SLOW_REMOVAL_MS_FILE");
	return real(directory, path, flags);
}
