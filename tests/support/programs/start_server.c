// LD_PRELOAD library that starts a program many times for the price of once: the program is loaded, libtorch registers its ops,
// which takes most of a start, and then each start is a fork() that goes on to the program's own main().
//
//   START_SERVER   descriptor of a Unix stream socket
//
// A request is its size (4 bytes, host order) with the descriptors for stdin, stdout and stderr, then strings that end with NUL:
// the working directory, the number of arguments, the arguments, the variables of the environment. The answers are 4 bytes each:
// 0 when the server is ready, then of each start the process id and the wait status. The server ends with its socket.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*main_function)(int, char**, char**);

static main_function program_main;

enum { kFiles = 3 };

static int read_all(int socket, char* data, size_t size) {
  while (size > 0) {
    const ssize_t count = read(socket, data, size);
    if (count <= 0) return 0;
    data += count;
    size -= (size_t)count;
  }
  return 1;
}

// The size of the next request, 0 at the end.
static uint32_t receive_head(int socket, int* files) {
  uint32_t size = 0;
  char control[CMSG_SPACE(kFiles * sizeof(int))];
  struct iovec part = {&size, sizeof size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != (ssize_t)sizeof size) return 0;
  const struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (head == NULL || head->cmsg_len != CMSG_LEN(kFiles * sizeof(int))) return 0;
  memcpy(files, CMSG_DATA(head), kFiles * sizeof(int));
  return size;
}

static char* next(char* text) { return text + strlen(text) + 1; }

static int send_number(int socket, int32_t number) { return write(socket, &number, sizeof number) == sizeof number; }

// Ends a start after all that its main() made, before the destructors of what was loaded, which take as long as loading it.
static void leave(int status, void* unused) {
  (void)unused;
  fflush(NULL);
  _exit(status);
}

static int start(char* request, const char* end, const int* files) {
  for (int i = 0; i < kFiles; ++i) dup2(files[i], i);
  if (chdir(request) != 0) return 126;
  char* at = next(request);
  const int argc = atoi(at);
  char** argv = calloc((size_t)argc + 1, sizeof *argv);
  for (int i = 0; i < argc; ++i) argv[i] = at = next(at);
  clearenv();
  for (at = next(at); at < end; at = next(at)) putenv(at);
  on_exit(leave, NULL);
  return program_main(argc, argv, environ);
}

static int serve(int argc, char** argv, char** envp) {
  const char* name = getenv("START_SERVER");
  if (name == NULL) return program_main(argc, argv, envp);
  const int socket = atoi(name);
  int files[kFiles];
  if (!send_number(socket, 0)) return 1;
  for (uint32_t size; (size = receive_head(socket, files)) > 0;) {
    char* request = malloc(size);
    if (!read_all(socket, request, size)) break;
    const pid_t child = fork();
    if (child == 0) {
      close(socket);
      exit(start(request, request + size, files));
    }
    for (int i = 0; i < kFiles; ++i) close(files[i]);
    free(request);
    int status = 0;
    if (child < 0 || !send_number(socket, child) || waitpid(child, &status, 0) < 0 || !send_number(socket, status)) break;
  }
  return 0;
}

int __libc_start_main(main_function main, int argc, char** argv, void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
                      void* stack_end) {
  typedef int (*start_main)(main_function, int, char**, void (*)(void), void (*)(void), void (*)(void), void*);
  const start_main real = (start_main)dlsym(RTLD_NEXT, "__libc_start_main");
  program_main = main;
  return real(serve, argc, argv, init, fini, rtld_fini, stack_end);
}
