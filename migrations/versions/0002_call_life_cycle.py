"""call life cycle: aliases, history, call-backs, rules of connections.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('history_run',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('connection_id', sa.Integer(), nullable=False),
    sa.Column('state', sa.String(length=10), nullable=False),
    sa.Column('by_hand', sa.Boolean(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), nullable=False),
    sa.Column('until', sa.DateTime(timezone=True), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('seen', sa.Integer(), nullable=False),
    sa.Column('found', sa.Integer(), nullable=False),
    sa.Column('added', sa.Integer(), nullable=False),
    sa.Column('error', sa.String(length=500), nullable=True),
    sa.ForeignKeyConstraint(['connection_id'], ['telephony_connection.id'], name=op.f('fk_history_run_connection_id_telephony_connection'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_history_run'))
    )
    with op.batch_alter_table('history_run', schema=None) as batch_op:
        batch_op.create_index('ix_history_run_connection', ['connection_id', 'id'], unique=False)

    op.create_table('call_alias',
    sa.Column('connection_id', sa.Integer(), nullable=False),
    sa.Column('alias', sa.String(length=128), nullable=False),
    sa.Column('call_id', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['call_id'], ['call.id'], name=op.f('fk_call_alias_call_id_call'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['connection_id'], ['telephony_connection.id'], name=op.f('fk_call_alias_connection_id_telephony_connection'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('connection_id', 'alias', name=op.f('pk_call_alias'))
    )
    with op.batch_alter_table('call_alias', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_call_alias_call_id'), ['call_id'], unique=False)

    op.create_table('telephony_line',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('connection_id', sa.Integer(), nullable=False),
    sa.Column('number', sa.String(length=32), nullable=False),
    sa.Column('key', sa.String(length=32), nullable=False),
    sa.Column('title', sa.String(length=120), nullable=True),
    sa.Column('source_id', sa.Integer(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['connection_id'], ['telephony_connection.id'], name=op.f('fk_telephony_line_connection_id_telephony_connection'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['source_id'], ['source.id'], name=op.f('fk_telephony_line_source_id_source')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_telephony_line')),
    sa.UniqueConstraint('connection_id', 'key', name=op.f('uq_telephony_line_connection_id'))
    )
    with op.batch_alter_table('telephony_line', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_telephony_line_key'), ['key'], unique=False)
        batch_op.create_index(batch_op.f('ix_telephony_line_source_id'), ['source_id'], unique=False)

    with op.batch_alter_table('call', schema=None) as batch_op:
        batch_op.add_column(sa.Column('transferred', sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column('history_run_id', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('id_is_made_up', sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column('callback_due_at', sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column('called_back_at', sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column('reached_at', sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column('callback_task_id', sa.Integer(), nullable=True))
        batch_op.create_index('ix_call_history_run', ['history_run_id'], unique=False)
        batch_op.create_index('ix_call_to_call_back', ['callback_due_at'], unique=False, postgresql_where=sa.text('callback_due_at IS NOT NULL AND called_back_at IS NULL'), sqlite_where=sa.text('callback_due_at IS NOT NULL AND called_back_at IS NULL'))
        batch_op.create_foreign_key(batch_op.f('fk_call_history_run_id_history_run'), 'history_run', ['history_run_id'], ['id'], ondelete='SET NULL')
        batch_op.create_foreign_key(batch_op.f('fk_call_callback_task_id_task'), 'task', ['callback_task_id'], ['id'], ondelete='SET NULL')

    with op.batch_alter_table('telephony_connection', schema=None) as batch_op:
        batch_op.add_column(sa.Column('makes_deals', sa.Boolean(), server_default=sa.true(), nullable=False))
        batch_op.add_column(sa.Column('assign_rule', sa.String(length=10), server_default='free', nullable=False))
        batch_op.add_column(sa.Column('assign_to_id', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('work_start', sa.Time(), nullable=True))
        batch_op.add_column(sa.Column('work_end', sa.Time(), nullable=True))
        batch_op.add_column(sa.Column('work_days', sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column('callback_minutes', sa.Integer(), server_default='15', nullable=False))
        batch_op.add_column(sa.Column('callback_task', sa.Boolean(), server_default=sa.true(), nullable=False))
        batch_op.add_column(sa.Column('syncs_history', sa.Boolean(), server_default=sa.true(), nullable=False))
        batch_op.add_column(sa.Column('keep_recordings_days', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('subscription_id', sa.String(length=128), nullable=True))
        batch_op.add_column(sa.Column('subscribed_until', sa.DateTime(timezone=True), nullable=True))
        batch_op.create_foreign_key(batch_op.f('fk_telephony_connection_assign_to_id_ab_user'), 'ab_user', ['assign_to_id'], ['id'])

    with op.batch_alter_table('telephony_extension', schema=None) as batch_op:
        batch_op.add_column(sa.Column('number', sa.String(length=32), nullable=True))



def downgrade() -> None:
    with op.batch_alter_table('telephony_extension', schema=None) as batch_op:
        batch_op.drop_column('number')

    with op.batch_alter_table('telephony_connection', schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f('fk_telephony_connection_assign_to_id_ab_user'), type_='foreignkey')
        batch_op.drop_column('subscribed_until')
        batch_op.drop_column('subscription_id')
        batch_op.drop_column('keep_recordings_days')
        batch_op.drop_column('syncs_history')
        batch_op.drop_column('callback_task')
        batch_op.drop_column('callback_minutes')
        batch_op.drop_column('work_days')
        batch_op.drop_column('work_end')
        batch_op.drop_column('work_start')
        batch_op.drop_column('assign_to_id')
        batch_op.drop_column('assign_rule')
        batch_op.drop_column('makes_deals')

    with op.batch_alter_table('call', schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f('fk_call_callback_task_id_task'), type_='foreignkey')
        batch_op.drop_constraint(batch_op.f('fk_call_history_run_id_history_run'), type_='foreignkey')
        batch_op.drop_index('ix_call_to_call_back', postgresql_where=sa.text('callback_due_at IS NOT NULL AND called_back_at IS NULL'), sqlite_where=sa.text('callback_due_at IS NOT NULL AND called_back_at IS NULL'))
        batch_op.drop_index('ix_call_history_run')
        batch_op.drop_column('callback_task_id')
        batch_op.drop_column('reached_at')
        batch_op.drop_column('called_back_at')
        batch_op.drop_column('callback_due_at')
        batch_op.drop_column('id_is_made_up')
        batch_op.drop_column('history_run_id')
        batch_op.drop_column('transferred')

    op.drop_table('telephony_line')
    with op.batch_alter_table('call_alias', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_call_alias_call_id'))

    op.drop_table('call_alias')
    with op.batch_alter_table('history_run', schema=None) as batch_op:
        batch_op.drop_index('ix_history_run_connection')

    op.drop_table('history_run')
