using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>Reads an action's arguments.</summary>
/// <param name="arguments">Its arguments, all of which are checked.</param>
/// <returns>A function that adds the action to a plan, and throws if something it names does not exist.</returns>
/// <exception cref="QmpException">The arguments are wrong.</exception>
internal delegate Action<TransactionPlan> ActionReader(QmpArguments arguments);
