/*
 * Cuts the power of the file systems that hold the directories in the arguments: nothing that was
 * not synced reaches their disks any more, not even from the journal, and every call fails. Opens
 * them all, says "ready", waits for a line, cuts one after the other, and says "cut".
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define SHUTDOWN _IOR('X', 125, uint32_t)
#define NOLOGFLUSH 2
#define DISKS_MAX 16

int main(int count, char **paths)
{
	uint32_t how = NOLOGFLUSH;
	int disks[DISKS_MAX];
	int i;

	if (count > DISKS_MAX)
		return 1;
	for (i = 1; i < count; i++) {
		disks[i] = open(paths[i], O_RDONLY | O_DIRECTORY);
		if (disks[i] < 0) {
			perror(paths[i]);
			return 1;
		}
	}
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	for (i = 1; i < count; i++) {
		if (ioctl(disks[i], SHUTDOWN, &how) < 0) {
			perror(paths[i]);
			return 1;
		}
	}
	puts("cut");
	return 0;
}
