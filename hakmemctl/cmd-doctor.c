/*
 * hakmemctl doctor: what keeps hakmem from doing its work on this host, why, and the cure. Exit 1
 * if there is a problem; warnings cost speed or memory, not service.
 */
#include "hakmemctl/command.h"
#include "hakmemctl/doctor.h"

#include <stdio.h>
#include <stdlib.h>

#include "hakmemctl/output.h"

static const char *const verdict_names[] = {"ok", "warning", "problem"};

static size_t count(const struct doctor_report *report, enum doctor_verdict verdict)
{
    size_t n = 0;
    for (size_t i = 0; i < report->n_findings; i++)
        n += report->findings[i].verdict == verdict;
    return n;
}

static bool print_json(const struct doctor_report *report)
{
    json_t *checks = json_array();
    for (size_t i = 0; checks && i < report->n_findings; i++) {
        const struct doctor_finding *finding = &report->findings[i];
        json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s}", "subject", finding->subject,
                                                "verdict", verdict_names[finding->verdict], "seen",
                                                finding->seen, "cure", finding->cure));
    }
    return output_json(json_pack("{s:I, s:I, s:o}", "problems",
                                 (json_int_t)count(report, DOCTOR_PROBLEM), "warnings",
                                 (json_int_t)count(report, DOCTOR_WARNING), "checks", checks));
}

static bool print_text(const struct doctor_report *report)
{
    for (size_t i = 0; i < report->n_findings; i++) {
        const struct doctor_finding *finding = &report->findings[i];
        printf("%-8s %-14s %s\n", verdict_names[finding->verdict], finding->subject, finding->seen);
        if (finding->cure[0])
            printf("%-8s %-14s cure: %s\n", "", "", finding->cure);
    }
    printf("\n%zu problems, %zu warnings\n", count(report, DOCTOR_PROBLEM),
           count(report, DOCTOR_WARNING));
    return output_flush();
}

int cmd_doctor(const struct invocation *invocation)
{
    struct doctor_report *report = calloc(1, sizeof(*report));
    if (!report)
        return CTL_FAILED;
    doctor_check_daemon(report, invocation);
    doctor_check_host(report);
    bool printed = invocation->json ? print_json(report) : print_text(report);
    int code = printed && count(report, DOCTOR_PROBLEM) == 0 ? CTL_OK : CTL_FAILED;
    free(report);
    return code;
}
