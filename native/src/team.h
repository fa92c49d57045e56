/* Threads that share the rows of a call. */
#ifndef RNNEDGE_TEAM_H
#define RNNEDGE_TEAM_H

struct team;

/* A team of so many members, the caller among them; NULL without memory. Threads start when there
   is something to share. */
struct team *make_team(int members);
void end_team(struct team *);

/*
 * Runs work(context, member) for each member from 0 to count - 1, and returns when all are done.
 * The caller runs all of them where the team is at work for another thread, where its threads do
 * not start, and in a process that was forked from that of the team.
 */
void share(struct team *, int count, void (*work)(void *context, int member), void *context);

#endif
