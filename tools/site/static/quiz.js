// Questions that answer back: the list of options becomes radio buttons, the folded answer says what belongs to the one chosen.
// The first answer to each question counts; answers stay in this browser.
function asForm(quiz) {
  const key = `rdistill-quiz-${quiz.dataset.quiz}`;
  const questions = [...quiz.querySelectorAll(".question")];
  const score = document.createElement("p");
  score.className = "quiz-score";
  score.setAttribute("role", "status");
  let answers = {};
  try {
    answers = JSON.parse(localStorage.getItem(key)) ?? {};
  } catch {
    answers = {};
  }

  function count() {
    const given = questions.map((question, number) => [question, answers[number]]).filter(([, own]) => own);
    const right = given.filter(([question, own]) => own[0] === question.dataset.right).length;
    score.textContent = `${given.length} of ${questions.length} questions answered, ${right} right at once.`;
  }

  questions.forEach((question, number) => {
    const [options, answer] = [question.querySelector("ul"), question.querySelector("details")];
    const field = document.createElement("fieldset");
    const legend = document.createElement("legend");
    const reply = document.createElement("p");
    legend.append(...question.querySelector("p").childNodes);
    field.append(legend);
    reply.setAttribute("role", "status");
    const reasons = Object.fromEntries([...answer.querySelectorAll("li")].map((item) => [item.dataset.option, item.innerHTML]));

    function show(letter) {
      reply.innerHTML = reasons[letter]; // of this page's own answer
      reply.className = `quiz-reply ${letter === question.dataset.right ? "right" : "wrong"}`;
    }
    for (const option of options.querySelectorAll("li")) {
      const label = document.createElement("label");
      const button = document.createElement("input");
      button.type = "radio";
      button.name = `${key}-${number}`;
      button.value = option.dataset.option;
      button.addEventListener("change", () => {
        answers[number] = (answers[number] ?? "") + button.value;
        try {
          localStorage.setItem(key, JSON.stringify(answers));
        } catch {
          // a browser that keeps nothing still answers
        }
        show(button.value);
        count();
      });
      const words = document.createElement("span");
      words.append(...option.childNodes);
      label.append(button, words);
      field.append(label);
      if (answers[number]?.endsWith(button.value)) {
        button.checked = true;
        show(button.value);
      }
    }
    question.replaceChildren(field, reply);
  });

  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Start again";
  again.addEventListener("click", () => {
    answers = {};
    localStorage.removeItem(key);
    for (const button of quiz.querySelectorAll("input")) button.checked = false;
    for (const reply of quiz.querySelectorAll(".quiz-reply")) reply.replaceChildren();
    count();
  });
  quiz.append(score, again);
  count();
}
document.querySelectorAll(".quiz").forEach(asForm);
