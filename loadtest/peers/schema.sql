-- A debit as a PostgreSQL team would write it: one row of the coupon, one row of the key, one commit. The key's row is
-- the ledger's entry as well. Codes: 0 taken, 1 too little, 2 expired, 3 no such coupon, 9 the key was used for another.
CREATE TABLE coupon (
  id         bigint PRIMARY KEY,
  balance    bigint NOT NULL CHECK (balance >= 0),
  expires_at timestamptz NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE ledger (
  key       uuid PRIMARY KEY,
  coupon_id bigint NOT NULL,
  shop_id   int NOT NULL,
  amount    bigint NOT NULL,
  code      smallint NOT NULL,
  balance   bigint NOT NULL,   -- after the debit: what a repeat is answered
  at        timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION debit(p_coupon bigint, p_shop int, p_amount bigint, p_key uuid, OUT code smallint, OUT balance bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  old ledger%ROWTYPE;
  bal bigint;
  exp timestamptz;
  res smallint := 0;
BEGIN
  SELECT * INTO old FROM ledger l WHERE l.key = p_key;
  IF NOT FOUND THEN
    UPDATE coupon c SET balance = c.balance - p_amount
     WHERE c.id = p_coupon AND c.balance >= p_amount AND c.expires_at > now()
     RETURNING c.balance INTO bal;
    IF NOT FOUND THEN
      SELECT c.balance, c.expires_at INTO bal, exp FROM coupon c WHERE c.id = p_coupon;
      IF NOT FOUND THEN res := 3; bal := 0;
      ELSIF exp <= now() THEN res := 2;
      ELSE res := 1;
      END IF;
    END IF;
    INSERT INTO ledger(key, coupon_id, shop_id, amount, code, balance)
    VALUES (p_key, p_coupon, p_shop, p_amount, res, bal)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
      code := res; balance := bal;
      RETURN;
    END IF;
    -- A twin of this request was committed in between: the debit is taken back, and the twin's answer given.
    IF res = 0 THEN
      UPDATE coupon c SET balance = c.balance + p_amount WHERE c.id = p_coupon;
    END IF;
    SELECT * INTO old FROM ledger l WHERE l.key = p_key;
  END IF;
  IF (old.coupon_id, old.shop_id, old.amount) <> (p_coupon, p_shop, p_amount) THEN
    code := 9; balance := 0;
  ELSE
    code := old.code; balance := old.balance;
  END IF;
END $$;
