using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Reads what an action is to do.</summary>
/// <param name="arguments">Its arguments, looked at to the last.</param>
/// <returns>What adds it to a plan, and refuses what there is not.</returns>
/// <exception cref="QmpException">The arguments are wrong.</exception>
internal delegate Action<TransactionPlan> ActionReader(QmpArguments arguments);
