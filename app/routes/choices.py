"""Multiple choice."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.problems import documented
from app.readiness import ReadyService
from app.routes.asking import ASKING_PROBLEMS, answer, request_body
from app.schemas.choice_examples import CHOICE_EXAMPLES
from app.schemas.choices import ChoiceAnswer, ChoiceQuestion, ChoiceResults
from app.schemas.common import one_or_many

router = APIRouter(tags=["choices"])


@router.post(
    "/score_choices",
    response_model=ChoiceAnswer | ChoiceResults,
    responses=documented(*ASKING_PROBLEMS),
    openapi_extra=request_body(
        one_or_many(ChoiceQuestion, "questions", "ChoiceQuestions"), CHOICE_EXAMPLES
    ),
)
async def score_choices(request: Request, service: ReadyService) -> Response:
    """Score the choices of a question zero-shot, by how plausible each is with the context.

    The body is one question, or `{"questions": [...]}` for many at once; then each result is an
    answer, or a problem of its own with its `status`, in the order of the questions.
    """
    return await answer(request, service, service.features.choices)
