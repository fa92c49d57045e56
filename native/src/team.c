#include "team.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct member {
  struct team *team;
  int number;
  pthread_t thread;
};

struct team {
  pthread_mutex_t in_use; /* by the caller whose work it shares */
  pthread_mutex_t lock;   /* of what is below */
  pthread_cond_t begun, done;
  struct member *others; /* [count - 1] */
  int count, started, left, sharing;
  char ended, failed;
  unsigned long turn;
  pid_t process;
  void (*work)(void *, int);
  void *context;
};

static void *wait_for_work(void *argument) {
  const struct member *self = argument;
  struct team *team = self->team;
  unsigned long seen = 0;
  pthread_mutex_lock(&team->lock);
  while (!team->ended) {
    if (team->turn == seen) {
      pthread_cond_wait(&team->begun, &team->lock);
      continue;
    }
    seen = team->turn;
    if (self->number >= team->sharing) continue;
    pthread_mutex_unlock(&team->lock);
    team->work(team->context, self->number);
    pthread_mutex_lock(&team->lock);
    if (!--team->left) pthread_cond_signal(&team->done);
  }
  pthread_mutex_unlock(&team->lock);
  return NULL;
}

struct team *make_team(int members) {
  struct team *team = calloc(1, sizeof *team);
  if (!team) return NULL;
  team->others = calloc((size_t)members, sizeof *team->others);
  if (!team->others) {
    free(team);
    return NULL;
  }
  team->count = members;
  team->process = getpid();
  pthread_mutex_init(&team->in_use, NULL);
  pthread_mutex_init(&team->lock, NULL);
  pthread_cond_init(&team->begun, NULL);
  pthread_cond_init(&team->done, NULL);
  return team;
}

void end_team(struct team *team) {
  if (!team) return;
  if (team->process == getpid()) { /* a forked process has none of the threads */
    pthread_mutex_lock(&team->lock);
    team->ended = 1;
    pthread_cond_broadcast(&team->begun);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->started; i++) pthread_join(team->others[i].thread, NULL);
    pthread_cond_destroy(&team->begun);
    pthread_cond_destroy(&team->done);
    pthread_mutex_destroy(&team->lock);
    pthread_mutex_destroy(&team->in_use);
  }
  free(team->others);
  free(team);
}

/* Whether all threads run. */
static int is_started(struct team *team) {
  while (!team->failed && team->started < team->count - 1) {
    struct member *member = &team->others[team->started];
    *member = (struct member){.team = team, .number = team->started + 1};
    if (pthread_create(&member->thread, NULL, wait_for_work, member)) team->failed = 1;
    else team->started++;
  }
  return !team->failed;
}

void share(struct team *team, int count, void (*work)(void *context, int member), void *context) {
  const int alone = team->process != getpid() || pthread_mutex_trylock(&team->in_use);
  if (alone || count > team->count || !is_started(team)) {
    if (!alone) pthread_mutex_unlock(&team->in_use);
    for (int member = 0; member < count; member++) work(context, member);
    return;
  }
  pthread_mutex_lock(&team->lock);
  team->work = work;
  team->context = context;
  team->sharing = count;
  team->left = count - 1;
  team->turn++;
  pthread_cond_broadcast(&team->begun);
  pthread_mutex_unlock(&team->lock);
  work(context, 0);
  pthread_mutex_lock(&team->lock);
  while (team->left) pthread_cond_wait(&team->done, &team->lock);
  pthread_mutex_unlock(&team->lock);
  pthread_mutex_unlock(&team->in_use);
}
