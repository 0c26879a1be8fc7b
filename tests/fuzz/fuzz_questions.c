/* fuzz_questions.c - files of questions, in each of their forms.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "eval/questions.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (size_t i = 0; kf_task_at(i) != NULL; i++) {
        kfi_questions questions;
        kf_error err = {0};
        const kf_status st =
            kfi_questions_parse(&questions, kf_task_at(i), (const char *)data, n, 0, NULL, &err);
        require(st != KF_OK || questions.n > 0);
        require(st == KF_OK || (err.code == st && err.msg[0] != '\0'));
        for (size_t k = 0; k < questions.n; k++) {
            const kfi_question *q = &questions.items[k];
            require(q->n_choices >= 2 && q->n_choices <= KF_TASK_CHOICES);
            require(q->gold < q->n_choices);
            require(strlen(q->contexts[q->gold]) > 0 && strlen(q->choices[q->gold]) > 0);
        }
        kfi_questions_free(&questions);
    }
    return 0;
}
