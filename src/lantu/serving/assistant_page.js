const get=id=>document.getElementById(id),rows=get('rows'),why=get('why'),record=get('record');
const cell=(row,text,kind)=>{const c=row.insertCell();c.textContent=text;if(kind)c.className=kind};
let total=0;
function show(step){
  if(step.error){why.textContent=step.error;return}
  const row=rows.insertRow(),th=document.createElement('th');
  th.scope='row';th.textContent=step.stage;row.append(th);total+=step.seconds;
  cell(row,step.text);cell(row,step.confidence===null?'not known':step.confidence.toFixed(2),'n');
  cell(row,step.seconds.toFixed(2),'n');
  if(step.audio){const a=get('reply');a.src='data:audio/wav;base64,'+step.audio;a.hidden=false;a.play().catch(()=>{})}
}
async function send(sound,type){
  why.textContent='';rows.replaceChildren();get('reply').hidden=true;total=0;
  get('state').textContent='Listening to it …';
  try{
    const reply=await fetch('answer',{method:'POST',headers:{'Content-Type':type},body:sound});
    if(!reply.ok){why.textContent=(await reply.json()).error;return}
    const reader=reply.body.pipeThrough(new TextDecoderStream()).getReader();let rest='';
    for(;;){const {done,value}=await reader.read();if(done)break;
      const lines=(rest+value).split('\n');rest=lines.pop();for(const line of lines)show(JSON.parse(line))}
  }catch(error){why.textContent='No answer: '+error.message}
  finally{get('state').textContent=rows.rows.length?total.toFixed(2)+' seconds in all':''}
}
recordsInto(record,sound=>send(sound,'audio/wav'),said=>{why.textContent=said});
get('file').addEventListener('change',event=>{
  const file=event.target.files[0];
  if(file)send(file,file.type.startsWith('audio/')?file.type:'application/octet-stream')
});
