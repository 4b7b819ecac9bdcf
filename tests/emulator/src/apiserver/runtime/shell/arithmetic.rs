//! `$(( … ))`: integer arithmetic.

/// Evaluates `expression`; a name stands for what `lookup` says, or 0.
///
/// # Errors
///
/// Says what is wrong with the expression, in the words of a shell.
pub(super) fn evaluate(
    expression: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<i64, String> {
    let mut evaluator = Evaluator {
        rest: expression.trim(),
        lookup,
        depth: 0,
    };
    if evaluator.rest.is_empty() {
        return Ok(0);
    }
    let value = evaluator.binary(0)?;
    if evaluator.rest.is_empty() {
        Ok(value)
    } else {
        Err("arithmetic syntax error".to_owned())
    }
}

/// Binary operators, loosest first; those of a level bind alike.
const LEVELS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

struct Evaluator<'a> {
    rest: &'a str,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Evaluator<'_> {
    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|operator| self.eat(operator)) {
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 64 {
            return Err("expression recursion level exceeded".to_owned());
        }
        let value = if self.eat("-") {
            self.unary()?.wrapping_neg()
        } else if self.eat("!") {
            i64::from(self.unary()? == 0)
        } else if self.eat("+") {
            self.unary()?
        } else if self.eat("(") {
            let value = self.binary(0)?;
            if !self.eat(")") {
                return Err("arithmetic syntax error".to_owned());
            }
            value
        } else {
            self.operand()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn operand(&mut self) -> Result<i64, String> {
        let end = self
            .rest
            .find(|next: char| !next.is_ascii_alphanumeric() && next != '_')
            .unwrap_or(self.rest.len());
        let (operand, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        let syntax = || "arithmetic syntax error".to_owned();
        if operand.starts_with(|next: char| next.is_ascii_digit()) {
            return operand.parse().map_err(|_| syntax());
        }
        if operand.is_empty() {
            return Err(syntax());
        }
        let value = (self.lookup)(operand).unwrap_or_default();
        let value = value.trim();
        if value.is_empty() {
            return Ok(0);
        }
        value.parse().map_err(|_| syntax())
    }

    fn eat(&mut self, operator: &str) -> bool {
        match self.rest.strip_prefix(operator) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, String> {
    if matches!(operator, "/" | "%") && right == 0 {
        return Err("divide by zero".to_owned());
    }
    Ok(match operator {
        "||" => i64::from(left != 0 || right != 0),
        "&&" => i64::from(left != 0 && right != 0),
        "==" => i64::from(left == right),
        "!=" => i64::from(left != right),
        "<=" => i64::from(left <= right),
        ">=" => i64::from(left >= right),
        "<" => i64::from(left < right),
        ">" => i64::from(left > right),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" => left.wrapping_div(right),
        _ => left.wrapping_rem(right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_evaluate() {
        let lookup = |name: &str| (name == "i").then(|| "41".to_owned());
        for (expression, value) in [
            ("i + 1", Ok(42)),
            ("2 * (3 + 4) - -1", Ok(15)),
            ("10 - 2 - 3", Ok(5)),
            ("unset", Ok(0)),
            ("1 < 2 && 3 >= 4 || !0", Ok(1)),
            ("7 % 4 == 3", Ok(1)),
            ("", Ok(0)),
            ("1 / 0", Err("divide by zero".to_owned())),
            ("1 +", Err("arithmetic syntax error".to_owned())),
            ("1 2", Err("arithmetic syntax error".to_owned())),
        ] {
            assert_eq!(evaluate(expression, &lookup), value, "{expression}");
        }
        assert!(evaluate(&"(".repeat(100_000), &lookup).is_err());
    }
}
